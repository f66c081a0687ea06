# Runs one Plumber API on a Unix socket, behind Lectern's bridge.
#
#   R --no-echo --no-save --no-restore --file=lectern_plumber.R --args SOCKET FILE
#
# FILE is relative to the working directory, which is the bundle. Plumber itself listens on TCP only; it hands its router
# to httpuv::runServer, and that one function is replaced by one that listens on the socket. All else that Plumber does
# when it runs (documentation pages, hooks, options, working directory) stays its own.
local({
  # A zygote has them as an option.
  arguments <- getOption("lectern.arguments", commandArgs(trailingOnly = TRUE))
  path <- arguments[[1]]
  file <- arguments[[2]]

  fail <- function(...) {
    message("lectern: ", ...)
    quit(save = "no", status = 1, runLast = FALSE)
  }

  first <- function(value) trimws(strsplit(value, ",", fixed = TRUE)[[1]][[1]])

  # Client and scheme of a request as the bridge says: it always overwrites these headers.
  place <- function(req) {
    client <- req$HTTP_X_FORWARDED_FOR
    if (!is.null(client) && nzchar(client)) req$REMOTE_ADDR <- first(client)
    scheme <- req$HTTP_X_FORWARDED_PROTO
    if (!is.null(scheme) && nzchar(scheme)) req$rook.url_scheme <- first(scheme)
    mount <- req$HTTP_X_FORWARDED_PREFIX
    if (!is.null(mount)) req$SCRIPT_NAME <- utils::URLdecode(sub("/+$", "", mount))
  }

  listened <- FALSE
  serve <- function(host, port, app, ...) {
    bridged <- list(
      call = function(req) {
        place(req)
        app$call(req)
      },
      onHeaders = function(req) app$onHeaders(req),
      onWSOpen = function(ws) app$onWSOpen(ws)
    )
    # 0177: the socket is for this account alone.
    server <- httpuv::startPipeServer(path, strtoi("177", 8L), bridged)
    on.exit(httpuv::stopServer(server))
    listened <<- TRUE
    ready <- Sys.getenv("LECTERN_READY_FD")
    if (nzchar(ready)) {
      # For whoever waits to send the first request.
      Sys.unsetenv("LECTERN_READY_FD")
      try({
        told <- file(file.path("/proc/self/fd", ready), "wb", raw = TRUE)
        writeBin(charToRaw("R"), told)
        close(told)
      }, silent = TRUE)
    }
    message("Plumber serves ", file)
    httpuv::service(0)
  }

  if (!requireNamespace("plumber", quietly = TRUE)) {
    fail("the R package plumber is not installed; the server's administrator can add it: apt install r-cran-plumber, ",
         "or install.packages(\"plumber\")")
  }
  httpuv <- asNamespace("httpuv")
  unlockBinding("runServer", httpuv)
  assign("runServer", serve, envir = httpuv)
  lockBinding("runServer", httpuv)

  # What fails here ends the process, with R's own words.
  router <- if (tolower(basename(file)) == "entrypoint.r") {
    plumber::plumb(dir = dirname(file))
  } else {
    plumber::plumb(file)
  }

  run <- list(host = "127.0.0.1", port = 8000L)
  if ("quiet" %in% names(formals(router$run))) run$quiet <- TRUE
  do.call(router$run, run)
  if (!listened) fail("this version of plumber does not start its server with httpuv::runServer")
})
