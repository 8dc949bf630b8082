"""What holds the arrays in files of several suites: zip archives, HDF5, and pickles, each read and never run."""
