node "$@" > /tmp/h/out & P=$!; sleep 1; U=$(head -1 /tmp/h/out)
for i in 1 2 3; do (cd /work/main; node --import tsx bench/contestants/patch-load-child.ts "{\"url\":\"$U\",\"key\":\"k\",\"requests\":15000,\"firstValue\":${i}000}"; echo); done
kill $P
