# What the tests that failed have printed, from the output of go test -v: there
# "=== NAME test" says whose lines follow. Other output has no such lines, and
# nothing is printed for it. At most 60 lines of a test: what it says of the
# failure comes before the logs of its brokers.
/^=== (RUN|CONT|NAME|PAUSE) / { test = $3; next }
/^ *--- (FAIL|PASS|SKIP): /   { if ($2 == "FAIL:") failed[$3] = 1; next }
test != "" && lines[test]++ < 60 { said[test] = said[test] $0 "\n" }
END { for (test in failed) if (test in said) printf "--- %s has said:\n%s", test, said[test] }
