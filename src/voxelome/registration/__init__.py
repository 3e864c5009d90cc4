"""Registration of images to each other and to a template, and resampling."""
