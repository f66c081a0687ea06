# Predicts a car's fuel use from its weight and power with a linear model of R's own `mtcars` data.

model <- lm(mpg ~ wt + hp, data = mtcars)

#* @apiTitle Fuel use
#* @apiDescription Predicts miles per gallon from weight and power.

#* Says where to look.
#* @get /
#* @serializer unboxedJSON
function() {
  list(title = "Fuel use", documentation = "__docs__/", try = "predict?weight=3&horsepower=110")
}

#* Predicts miles per gallon, with a 95 % interval.
#* @param weight:dbl weight in 1000 pounds
#* @param horsepower:dbl gross horsepower
#* @get /predict
#* @serializer unboxedJSON
function(weight, horsepower, res) {
  car <- suppressWarnings(data.frame(wt = as.numeric(weight), hp = as.numeric(horsepower)))
  if (anyNA(car)) {
    res$status <- 400
    return(list(error = "weight and horsepower must be numbers"))
  }
  interval <- predict(model, car, interval = "prediction")
  list(mpg = round(interval[1, "fit"], 2), low = round(interval[1, "lwr"], 2), high = round(interval[1, "upr"], 2))
}

#* The model's coefficients.
#* @get /model
#* @serializer unboxedJSON
function() {
  as.list(round(coef(model), 4))
}
