# The names of functions are not in the binary, so a stack shows addresses. The command that takes long is named above it.
s/\*debugCommand\*/*at command debug*/
