#!/bin/sh
# Reads its input, which it does not need, and answers JSON. What it writes to standard error is logged.
cat > /dev/null
echo "greeting somebody" >&2
printf '{"output": "%s"}' "${1:-Hello}"
