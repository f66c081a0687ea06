# Waits with packages loaded, and becomes a worker in each child that it is asked to fork.
#
#   R --no-echo --no-save --no-restore --file=lectern_zygote.R --args LAUNCHER PACKAGE...
#
# LAUNCHER is an R program beside this one. It finds its arguments in the option `lectern.arguments`. Packages are loaded
# before the first fork, what they depend on included, and never a publisher's code; what is not installed is passed over. A
# program beside LAUNCHER whose name begins with `warm_` uses them once: R reads most functions from disk when they are first
# called, and what is read here is shared by all workers.
local({
  arguments <- commandArgs(trailingOnly = TRUE)
  script <- sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)[[1]])
  ours <- dirname(script)
  program <- parse(file.path(ours, arguments[[1]]), keep.source = FALSE)
  for (package in arguments[-1]) {
    tryCatch(suppressWarnings(loadNamespace(package)), error = function(condition) NULL)
  }
  dyn.load(file.path(ours, "lectern_fork.so"))
  answer <- function(name) .C(name, answer = 0L, PACKAGE = "lectern_fork")$answer
  if (answer("lectern_zygote_begin_r") != 0L) quit(save = "no", status = 1)
  # The first fork does not wait for it: somebody waits for that worker, and would have started no slower without a zygote.
  warm <- file.path(ours, paste0("warm_", arguments[[1]]))
  repeat {
    if (answer("lectern_zygote_next_r") != 1L) quit(save = "no", runLast = FALSE)
    if (answer("lectern_zygote_fork_r") == 1L) break
    if (nzchar(warm)) {
      if (file.exists(warm)) try(sys.source(warm, new.env(parent = globalenv())), silent = TRUE)
      warm <- ""
      # What is here now is old: the collector passes over it, and leaves the pages that children share as they are.
      for (round in 1:3) gc()
    }
  }
  arguments <- strsplit(Sys.getenv("LECTERN_ARGUMENTS"), "\x1f", fixed = TRUE)[[1]]
  Sys.unsetenv("LECTERN_ARGUMENTS")
  options(lectern.arguments = arguments[-seq_len(match("--args", arguments))])
  # Each worker draws its own numbers.
  if (exists(".Random.seed", globalenv())) rm(".Random.seed", envir = globalenv())
  for (expression in program) eval(expression, globalenv())
})
quit(save = "no", runLast = FALSE)
