//! `cpo serve`: the app as the custom handler of a Functions host.
