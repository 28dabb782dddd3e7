"""For type checkers in a checkout: the two rooms that lie beside the package, where a wheel has them."""
