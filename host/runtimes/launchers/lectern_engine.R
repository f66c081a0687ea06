# Runs what a `_server.yml` describes, with the engine it names, on a Unix socket, behind Lectern's bridge.
#
#   R --no-echo --no-save --no-restore --file=lectern_engine.R --args SOCKET ENGINE FILE
#
# An engine is an R package with a function launch_server(settings, host = NULL, port = NULL, ...), and FILE is its settings. The
# engines there are listen with httpuv; where one does not, this ends with words, because a port of its own would be open to
# whatever shares the network.
local({
  here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)[[1]]))
  source(file.path(here, "lectern_httpuv.R"), local = TRUE)
  arguments <- commandArgs(trailingOnly = TRUE)
  engine <- arguments[[2]]

  lectern_need("httpuv", "an engine")
  listened <- lectern_listen(arguments[[1]])
  lectern_need(engine, "_server.yml")
  launch <- get0("launch_server", envir = asNamespace(engine), mode = "function", inherits = FALSE)
  if (is.null(launch)) lectern_fail("the R package ", engine, " is no engine: it has no function launch_server")
  # What fails here ends the process, with R's own words.
  launch(settings = arguments[[3]], host = "127.0.0.1", port = 8000L)
  if (!listened()) lectern_fail("the engine ", engine, " did not start a server with httpuv, the only one that Lectern can serve")
  # It may have started its server and returned.
  httpuv::service(0)
})
