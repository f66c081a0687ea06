# Keeps a Shiny session while its connection comes and goes, and carries it over long polls where WebSockets are blocked.
#
# `lectern_link.js`, which is put into Shiny's pages, speaks the other end. A link is what Shiny takes for its WebSocket: named by a
# token that the page draws, it outlives connections by GRACE seconds. Its frames are text, a number, a letter and the rest:
#
#   12t…  message 12          12b…  message 12, bytes in base64 (from pages only)
#   12a   up to 12 was seen   0c    the page leaves            0x    there is no such link
#
# What was not seen by the other end is kept and sent again after a break, so nothing is lost and nothing comes twice. A page
# without the script speaks a plain WebSocket, and is left to Shiny.

# Seconds without a connection after which a session ends: Connect's client gives up after as long.
LECTERN_GRACE <- 15
# Seconds that a poll waits for news: less than what proxies allow a silent request (30 s mostly).
LECTERN_POLL <- 20
# Bytes kept for a page that does not say it saw them: above it the page is not there any more, or will never catch up.
LECTERN_MOST_BYTES <- 64 * 1024^2
# Links of one process: many times the connections that a process is given.
LECTERN_MOST_LINKS <- 1000L

# Puts links before a Shiny application's handlers; see httpuv::startServer for what an app is.
lectern_linked <- function(app) {
  links <- new.env(parent = emptyenv())
  now <- function() as.numeric(Sys.time())
  parameters <- function(req) {
    query <- shiny::parseQueryString(if (is.null(req$QUERY_STRING)) "" else req$QUERY_STRING)
    token <- query$lectern
    if (is.null(token) || !grepl("^[0-9a-f]{32}$", token)) return(NULL)
    seen <- suppressWarnings(as.numeric(query$seen))
    list(token = token, seen = if (length(seen) == 1 && is.finite(seen)) seen else 0, fresh = identical(query$fresh, "1"))
  }

  # What Shiny sees of the request: its own address, and nothing of ours.
  request_of <- function(req) {
    request <- as.environment(as.list(req, all.names = TRUE))
    request$PATH_INFO <- sub("/__lectern__/poll$", "/websocket/", request$PATH_INFO)
    request$QUERY_STRING <- ""
    request
  }

  end <- function(link) {
    if (link$ended) return(invisible())
    link$ended <- TRUE
    if (exists(link$token, links, inherits = FALSE)) rm(list = link$token, envir = links)
    link$answer()
    for (callback in link$close_callbacks) callback()
    if (!is.null(link$ws)) link$ws$close()
  }

  begin <- function(token, req) {
    link <- new.env(parent = emptyenv())
    link$token <- token
    link$request <- request_of(req)
    link$credentials <- req$HTTP_SHINY_SERVER_CREDENTIALS
    link$ended <- FALSE
    link$sent <- 0
    link$seen <- 0
    link$queue <- list()
    link$ids <- numeric()
    link$bytes <- 0
    link$message_callbacks <- list()
    link$close_callbacks <- list()
    link$ws <- NULL
    link$lost_at <- now()
    link$ack_planned <- FALSE
    # Answers the poll that waits, if one does.
    link$answer <- function() NULL
    link$waits <- FALSE
    link$onMessage <- function(callback) link$message_callbacks <- c(link$message_callbacks, callback)
    link$onClose <- function(callback) link$close_callbacks <- c(link$close_callbacks, callback)
    link$close <- function(...) end(link)
    link$send <- function(message) {
      if (link$ended) return(invisible())
      link$sent <- link$sent + 1
      frame <- paste0(link$sent, "t", enc2utf8(as.character(message)))
      link$queue <- c(link$queue, list(frame))
      link$ids <- c(link$ids, link$sent)
      link$bytes <- link$bytes + nchar(frame, "bytes")
      if (!is.null(link$ws)) link$ws$send(frame) else link$answer()
      # Shiny is in the middle of something: it learns of the end afterwards.
      if (link$bytes > LECTERN_MOST_BYTES) later::later(function() end(link))
    }
    assign(token, link, envir = links)
    app$onWSOpen(link)
    link
  }

  # The link that a request names, begun where it is new; NULL where there is none, or it is another visitor's.
  find <- function(asked, req) {
    link <- links[[asked$token]]
    if (is.null(link)) {
      if (!asked$fresh || length(links) >= LECTERN_MOST_LINKS) return(NULL)
      link <- begin(asked$token, req)
    }
    if (link$ended || !identical(link$credentials, req$HTTP_SHINY_SERVER_CREDENTIALS)) return(NULL)
    link
  }

  forget <- function(link, seen) {
    kept <- link$ids > seen
    link$queue <- link$queue[kept]
    link$ids <- link$ids[kept]
    link$bytes <- sum(nchar(unlist(link$queue), "bytes"))
  }

  acknowledge <- function(link) {
    if (link$ack_planned) return(invisible())
    link$ack_planned <- TRUE
    later::later(function() {
      link$ack_planned <- FALSE
      if (!is.null(link$ws)) link$ws$send(paste0(link$seen, "a"))
    }, 0.5)
  }

  # Takes one frame of a page.
  take <- function(link, frame) {
    at <- regexpr("[a-z]", frame)
    id <- suppressWarnings(as.numeric(substr(frame, 1, at - 1)))
    if (at < 2 || is.na(id)) return(invisible())
    kind <- substr(frame, at, at)
    if (kind == "a") return(forget(link, id))
    if (kind == "c") return(end(link))
    # Sent again, because we had no time to say that we saw it.
    if (!(kind %in% c("t", "b")) || id != link$seen + 1) return(invisible())
    link$seen <- id
    acknowledge(link)
    message <- substring(frame, at + 1)
    if (kind == "b") message <- jsonlite::base64_dec(message)
    for (callback in link$message_callbacks) callback(kind == "b", message)
  }

  # A page's WebSocket.
  connect <- function(ws, asked) {
    link <- find(asked, ws$request)
    if (is.null(link)) {
      ws$send("0x")
      ws$close()
      return(invisible())
    }
    before <- link$ws
    link$ws <- ws
    link$answer()
    if (!is.null(before)) before$close()
    forget(link, asked$seen)
    ws$send(paste0(link$seen, "a"))
    for (frame in link$queue) ws$send(frame)
    ws$onMessage(function(binary, frame) {
      if (!binary && identical(link$ws, ws)) take(link, frame)
    })
    ws$onClose(function() {
      if (identical(link$ws, ws)) {
        link$ws <- NULL
        link$lost_at <- now()
      }
    })
  }

  reply <- function(status, frames) {
    body <- jsonlite::toJSON(as.character(frames))
    list(status = status, headers = list("Content-Type" = "application/json", "Cache-Control" = "no-store"), body = body)
  }

  # A page's poll: brings frames, and waits for ours unless it only brings.
  poll <- function(req) {
    asked <- parameters(req)
    link <- if (is.null(asked)) NULL else find(asked, req)
    if (is.null(link)) return(reply(200L, "0x"))
    link$lost_at <- now()
    text <- rawToChar(req$rook.input$read())
    Encoding(text) <- "UTF-8"
    frames <- tryCatch(jsonlite::fromJSON(text, simplifyVector = FALSE), error = function(e) list())
    for (frame in Filter(is.character, frames)) {
      # A mistake of the application is its log's, not this page's transport's.
      tryCatch(take(link, frame), error = function(e) message("Error: ", conditionMessage(e)))
    }
    if (link$ended) return(reply(200L, "0x"))
    if (grepl("wait=0", req$QUERY_STRING, fixed = TRUE)) return(reply(200L, paste0(link$seen, "a")))
    # It polls, so its WebSocket is no more.
    if (!is.null(link$ws)) link$ws$close()
    link$ws <- NULL
    link$answer()
    forget(link, asked$seen)
    now_due <- grepl("hello=1", req$QUERY_STRING, fixed = TRUE)
    promises::promise(function(resolve, reject) {
      open <- TRUE
      answer <- function() {
        if (!open) return(invisible())
        open <<- FALSE
        link$answer <- function() NULL
        link$waits <- FALSE
        link$lost_at <- now()
        resolve(reply(200L, if (link$ended) "0x" else c(paste0(link$seen, "a"), unlist(link$queue))))
      }
      link$answer <- answer
      link$waits <- TRUE
      # Soon, not at once: what Shiny sends in one go comes in one answer.
      if (now_due || length(link$queue) > 0) later::later(answer, 0.01) else later::later(answer, LECTERN_POLL)
    })
  }

  sweep <- function() {
    for (token in ls(links)) {
      link <- links[[token]]
      if (is.null(link$ws) && !link$waits && now() - link$lost_at > LECTERN_GRACE) end(link)
    }
    later::later(sweep, 2)
  }
  sweep()

  # Where an application has a directory www, httpuv answers for it what is no question for a file.
  app$staticPaths <- c(app$staticPaths, list("__lectern__" = httpuv::excludeStaticPath()))
  utils::modifyList(app, list(
    call = function(req) {
      is_poll <- req$REQUEST_METHOD == "POST" && endsWith(req$PATH_INFO, "/__lectern__/poll")
      if (is_poll) poll(req) else app$call(req)
    },
    onWSOpen = function(ws) {
      asked <- parameters(ws$request)
      if (is.null(asked)) app$onWSOpen(ws) else connect(ws, asked)
    }
  ))
}

# Puts the script `file` into Shiny's pages: last in their heads, where Shiny is already loaded and has not begun.
lectern_link_filter <- function(file) {
  script <- paste0("<script>", paste(readLines(file, encoding = "UTF-8"), collapse = "\n"), "</script></head>")
  function(req, response) {
    page <- grepl("^text/html\\b", response$content_type, perl = TRUE)
    if (!page || response$status < 200 || response$status >= 300) return(response)
    content <- response$content
    if (is.raw(content)) {
      content <- rawToChar(content)
      Encoding(content) <- "UTF-8"
    }
    # Bodies that are files are no pages of Shiny's.
    if (!is.character(content) || length(content) != 1) return(response)
    response$content <- sub("</head>", script, enc2utf8(content), fixed = TRUE)
    response
  }
}
