//! The report: one self-contained HTML file that a marketer can read.
