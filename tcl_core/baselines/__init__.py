"""Systems that the paper compares with: an image window -> scores of classes. The evaluation knows none of them."""
