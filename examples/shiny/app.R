# Plans an experiment: how many subjects two groups need, to see a difference of a given size.

library(shiny)

accent <- "#2f5d8c"

# Chance to find the difference with n subjects in each group, by a two-sided t test.
power_with <- function(n, effect, level) {
  power.t.test(n = n, delta = effect, sd = 1, sig.level = level)$power
}

ui <- fluidPage(
  theme = bslib::bs_theme(version = 5, primary = accent, base_font = bslib::font_collection("system-ui", "sans-serif")),
  tags$head(tags$style("
    body { background: #f4f6f8; } .container-fluid { max-width: 62rem; padding-top: 2rem; }
    .panel { background: #fff; border-radius: .6rem; padding: 1.4rem; box-shadow: 0 1px 3px #0002; margin-bottom: 1rem; }
    #answer { font-size: 1.35rem; } #answer strong { color: #2f5d8c; } .who { color: #68737d; float: right; }
  ")),
  span(class = "who", textOutput("who", inline = TRUE)),
  h2("Sample size"),
  p("How many subjects does each of two groups need?"),
  fluidRow(
    column(4, div(class = "panel",
      sliderInput("effect", "Difference, in standard deviations", 0.1, 2, 0.5, step = 0.05),
      sliderInput("power", "Chance to find it", 0.5, 0.99, 0.8, step = 0.01),
      selectInput("level", "Significance level", c("5 %" = 0.05, "1 %" = 0.01, "0.1 %" = 0.001)),
      actionButton("note", "Note it down", class = "btn-primary")
    )),
    column(8, div(class = "panel", uiOutput("answer"), plotOutput("curve", height = "18rem")),
      conditionalPanel("output.noted", div(class = "panel", h5("Noted"), tableOutput("notes"))))
  )
)

server <- function(input, output, session) {
  needed <- reactive({
    plan <- power.t.test(delta = input$effect, sd = 1, sig.level = as.numeric(input$level), power = input$power)
    ceiling(plan$n)
  })
  notes <- reactiveVal(data.frame())

  output$who <- renderText(if (is.null(session$user)) "not signed in" else paste("signed in as", session$user))
  output$answer <- renderUI(p(id = "answer", strong(needed()), "subjects in each group,", 2 * needed(), "in all"))
  output$curve <- renderPlot({
    most <- max(10, 2 * needed())
    n <- unique(round(seq(2, most, length.out = 120)))
    chance <- vapply(n, power_with, 0, effect = input$effect, level = as.numeric(input$level))
    par(mar = c(4, 4, 0.5, 0.5), las = 1, bty = "n", col.axis = "#68737d")
    plot(n, chance, type = "l", lwd = 3, col = accent, ylim = 0:1, xlab = "subjects in each group", ylab = "chance")
    abline(h = input$power, v = needed(), lty = 3, col = "#98a2ab")
    points(needed(), power_with(needed(), input$effect, as.numeric(input$level)), pch = 19, cex = 1.6, col = accent)
  }, res = 96)

  observeEvent(input$note, {
    plan <- data.frame(difference = input$effect, chance = input$power, level = as.numeric(input$level), subjects = as.integer(needed()))
    notes(rbind(notes(), plan))
  })
  output$notes <- renderTable(notes(), digits = 3)
  output$noted <- reactive(nrow(notes()) > 0)
  outputOptions(output, "noted", suspendWhenHidden = FALSE)

  # When the connection breaks for longer than Lectern keeps the session, the page begins a new one with the same inputs.
  session$allowReconnect(TRUE)
}

shinyApp(ui, server)
