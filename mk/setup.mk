# Set-up: packages, kernel, libraries, images.
