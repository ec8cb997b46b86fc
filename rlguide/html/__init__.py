"""Pages: one file each, from one base template, one stylesheet and one set of parts."""
