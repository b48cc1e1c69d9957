"""Views of texts, images and arrays: few numbers for each row, made of many columns, in which a drift shows."""
