# Puts the one server that a framework starts with httpuv on a Unix socket, behind Lectern's bridge.
#
# Frameworks of R listen with httpuv, mostly on TCP only. Its three functions that begin to listen are replaced by ones that listen
# on the socket, whatever address they are asked for: in httpuv and, where a zygote has loaded frameworks already, in what these
# have imported from it. All else stays the framework's own.

lectern_fail <- function(...) {
  message("lectern: ", ...)
  quit(save = "no", status = 1, runLast = FALSE)
}

# Ends with words for the publisher where a package is absent.
lectern_need <- function(package, what) {
  if (!requireNamespace(package, quietly = TRUE)) {
    lectern_fail(what, " needs the R package ", package, "; the server's administrator can add it: apt install r-cran-",
                 tolower(package), ", or install.packages(\"", package, "\")")
  }
}

# Client, scheme and mount of a request as the bridge says: it always overwrites these headers.
lectern_place <- function(req) {
  first <- function(value) trimws(strsplit(value, ",", fixed = TRUE)[[1]][[1]])
  client <- req$HTTP_X_FORWARDED_FOR
  if (!is.null(client) && nzchar(client)) req$REMOTE_ADDR <- first(client)
  scheme <- req$HTTP_X_FORWARDED_PROTO
  if (!is.null(scheme) && nzchar(scheme)) req$rook.url_scheme <- first(scheme)
  mount <- req$HTTP_X_FORWARDED_PREFIX
  if (!is.null(mount)) req$SCRIPT_NAME <- utils::URLdecode(sub("/+$", "", mount))
}

# Tells whoever waits to send the first request that something listens; once.
lectern_ready <- function() {
  ready <- Sys.getenv("LECTERN_READY_FD")
  if (!nzchar(ready)) return(invisible())
  Sys.unsetenv("LECTERN_READY_FD")
  try({
    told <- file(file.path("/proc/self/fd", ready), "wb", raw = TRUE)
    writeBin(charToRaw("R"), told)
    close(told)
  }, silent = TRUE)
}

# Has httpuv listen on `path`, once. `change` may put something of ours before the framework's handlers: it gets an app (see
# httpuv::startServer) and answers one. Answers a function that says whether a server was started.
lectern_listen <- function(path, change = identity) {
  listened <- FALSE
  httpuv <- asNamespace("httpuv")
  pipe <- httpuv$startPipeServer
  start <- function(app) {
    if (listened) stop("the application starts a second server; Lectern serves the first one", call. = FALSE)
    if (is.function(app)) app <- list(call = app)
    bridged <- list(call = function(req) {
      lectern_place(req)
      app$call(req)
    })
    # Absent parts stay absent: httpuv treats them in its own ways.
    if (!is.null(app$onHeaders)) bridged$onHeaders <- function(req) app$onHeaders(req)
    if (!is.null(app$onWSOpen)) {
      bridged$onWSOpen <- function(ws) {
        lectern_place(ws$request)
        app$onWSOpen(ws)
      }
    }
    bridged$staticPaths <- app$staticPaths
    bridged$staticPathOptions <- app$staticPathOptions
    # 0177: the socket is for this account alone.
    server <- pipe(path, strtoi("177", 8L), change(bridged))
    listened <<- TRUE
    lectern_ready()
    server
  }
  others <- setdiff(loadedNamespaces(), "base")
  places <- c(httpuv, lapply(others, function(loaded) parent.env(asNamespace(loaded))))
  replace <- function(name, value) {
    for (place in places) {
      if (exists(name, place, inherits = FALSE)) {
        unlockBinding(name, place)
        assign(name, value, envir = place)
        lockBinding(name, place)
      }
    }
  }
  replace("startServer", function(host, port, app, ...) start(app))
  replace("startPipeServer", function(name, mask, app, ...) start(app))
  replace("runServer", function(host, port, app, ...) {
    server <- start(app)
    on.exit(httpuv::stopServer(server))
    httpuv::service(0)
  })
  function() listened
}
