"""Studies: variants of one recipe, trained over several seeds under one budget and put beside each other."""
