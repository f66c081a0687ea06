# A Plumber API that runs the R code it is sent, and answers its value or its error.

#* @post /try
#* @parser none
#* @serializer text
function(req) {
  code <- rawToChar(req$bodyRaw)
  problems <- character()
  value <- withCallingHandlers(
    tryCatch(eval(parse(text = code), new.env()), error = function(e) paste("error:", conditionMessage(e))),
    warning = function(w) {
      problems <<- c(problems, conditionMessage(w))
      invokeRestart("muffleWarning")
    }
  )
  paste(c(as.character(value), problems), collapse = "; ")
}
