//! The configuration file: image, checks, and the policies made of it.
