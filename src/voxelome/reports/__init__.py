"""Reports: figures, plots and the HTML pages that hold them."""
