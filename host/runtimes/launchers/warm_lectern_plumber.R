# Has Plumber read an API of ours and answer it, before a zygote forks; nothing of it stays but what R has loaded for it.
local({
  program <- tempfile(fileext = ".R")
  httpuv <- asNamespace("httpuv")
  listen <- httpuv$runServer
  unlockBinding("runServer", httpuv)
  on.exit({
    assign("runServer", listen, envir = httpuv)
    lockBinding("runServer", httpuv)
    unlink(program)
  })
  # Nobody listens: the API is called as the server would.
  assign("runServer", function(host, port, app, ...) {
    for (path in c("/", "/one", "/none")) {
      request <- new.env()
      request$REQUEST_METHOD <- "GET"
      request$PATH_INFO <- path
      request$QUERY_STRING <- "?a=1"
      request$HTTP_HOST <- "localhost"
      request$rook.input <- list(read_lines = function() "", read = function() raw(), rewind = function() 0)
      app$call(request)
    }
  }, envir = httpuv)
  writeLines(c(
    "#* @apiTitle Title", "#* @apiDescription Description",
    "#* Says a thing.", "#* @param a:int A number", "#* @get /", "function(req, res, a = 1) list(a = a)",
    "#* @get /one", "#* @serializer unboxedJSON", "function(a) list(a = a)",
    "#* @post /two", "#* @serializer html", "function() \"\""
  ), program)
  router <- plumber::plumb(program)
  run <- list(host = "127.0.0.1", port = 8000L)
  if ("quiet" %in% names(formals(router$run))) run$quiet <- TRUE
  suppressMessages(do.call(router$run, run))
})
