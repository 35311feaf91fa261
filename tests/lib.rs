//! Black-box tests of the built binary live beside this file.
