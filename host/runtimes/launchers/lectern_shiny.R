# Runs one Shiny application, or one document of R Markdown or Quarto with a Shiny runtime, on a Unix socket, behind Lectern's bridge.
#
#   R --no-echo --no-save --no-restore --file=lectern_shiny.R --args SOCKET app|rmd|qmd FILE [QUARTO|-]
#
# A document of Quarto is rendered by QUARTO; with `-`, the page beside it in the bundle is served. FILE is relative to the working
# directory, which is the bundle; for an application it may be `.`. Who is asking comes to `session$user` and `session$groups` in
# the header Shiny-Server-Credentials, which Shiny reads by itself and which the bridge always overwrites.
local({
  here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)[[1]]))
  source(file.path(here, "lectern_httpuv.R"), local = TRUE)
  # A zygote has them as an option.
  arguments <- getOption("lectern.arguments", commandArgs(trailingOnly = TRUE))
  path <- arguments[[1]]
  kind <- arguments[[2]]
  file <- arguments[[3]]

  # A document writes beside itself when it is rendered, and the bundle is read-only: it runs in a copy. Large files, which are
  # data, are linked instead. rmarkdown resolves links of documents, so these must be files.
  copied <- function() {
    copy <- file.path(Sys.getenv("HOME"), "document")
    all <- list.files(".", all.files = TRUE, recursive = TRUE, include.dirs = TRUE, no.. = TRUE)
    about <- file.info(all)
    dir.create(copy)
    for (name in all[about$isdir]) dir.create(file.path(copy, name), recursive = TRUE, showWarnings = FALSE)
    large <- !about$isdir & about$size > 1024^2
    small <- !about$isdir & !large
    done <- c(
      file.copy(all[small], file.path(copy, all[small]), copy.mode = FALSE, copy.date = TRUE),
      if (any(large)) file.symlink(file.path(getwd(), all[large]), file.path(copy, all[large]))
    )
    if (!all(done)) lectern_fail("the bundle could not be copied to ", copy, ": is its disk full?")
    setwd(copy)
  }

  source(file.path(here, "lectern_link.R"), local = TRUE)
  listened <- lectern_listen(path, lectern_linked)
  lectern_need("shiny", "a Shiny application")
  # Shiny's way for a server to put something into its pages.
  options(shiny.http.response.filter = lectern_link_filter(file.path(here, "lectern_link.js")))
  # Themes are compiled once in a process; the place that sass would keep them at is in the bundle.
  options(sass.cache = file.path(Sys.getenv("HOME"), "sass"))
  # Shiny draws its sessions' names from a seed of its own, which a zygote has made already: each worker makes another.
  own <- get0(".globals", asNamespace("shiny"), inherits = FALSE)
  if (is.environment(own)) own$ownSeed <- NULL
  # A port that is a path has Shiny listen on a socket; see lectern_httpuv.R for which.
  port <- structure(path, mask = strtoi("177", 8L))
  # What fails here ends the process, with R's own words.
  if (kind == "app") {
    shiny::runApp(file, port = port, launch.browser = FALSE, quiet = TRUE)
  } else {
    lectern_need("rmarkdown", "an interactive document")
    if (kind == "rmd" && !rmarkdown::pandoc_available("1.12.3")) {
      lectern_fail("an interactive document needs pandoc, which this server does not have; its administrator can add it: apt install pandoc")
    }
    copied()
    if (kind == "qmd") {
      quarto <- arguments[[4]]
      if (quarto != "-" && system2(quarto, c("render", shQuote(file))) != 0) lectern_fail(quarto, " did not render ", file)
      # Only Quarto renders its documents; what it made is served as `quarto serve` does.
      Sys.setenv(RMARKDOWN_RUN_PRERENDER = "0")
    }
    rmarkdown::run(file, auto_reload = FALSE, shiny_args = list(port = port, launch.browser = FALSE, quiet = TRUE))
  }
  if (!listened()) lectern_fail("the application ended without serving anything")
})
