# What the standard of _server.yml asks of an engine. It is not exported, and returns when its server has started.
launch_server <- function(settings, host = NULL, port = NULL, ...) {
  answers <- yaml::read_yaml(settings)$answers
  reply <- function(status, text) list(status = status, headers = list("Content-Type" = "text/plain"), body = text)
  startServer(host, port, list(call = function(req) {
    if (req$PATH_INFO == "/who") return(reply(200L, paste(req$REMOTE_ADDR, req$SCRIPT_NAME)))
    text <- answers[[req$PATH_INFO]]
    if (is.null(text)) reply(404L, "no such answer") else reply(200L, text)
  }))
}
