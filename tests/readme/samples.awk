# The samples of README.md, each a fenced block whose first line names its file, into the current folder.
/^```(c|cpp)$/ { inside = 1; file = ""; next }
/^```$/        { inside = 0; next }
inside && file == "" { file = $2 }
inside         { print > file }
