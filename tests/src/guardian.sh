# Cleans up after a test that could not: started beside each server and script, its standard input ends when the test
# process does, however that came. Arguments: the test's directory.
dir=$1
read -r word
[ "$word" = "done" ] && exit 0
pid=$(cat "$dir/server.pid") # a script has none
alive() { [ -n "$1" ] && state=$(sed 's/.*) \(.\).*/\1/' "/proc/$1/stat" 2>/dev/null) && [ "$state" != Z ]; }
kill -TERM "$pid" 2>/dev/null
tries=0
while alive "$pid" && [ $tries -lt 300 ]; do
    sleep 0.1
    tries=$((tries + 1))
done
# Whatever still runs on the test's own directory is the test's.
for process in /proc/[0-9]*; do
    one=${process#/proc/}
    [ "$one" = $$ ] && continue
    if tr '\0' ' ' <"$process/cmdline" 2>/dev/null | grep -qF "$dir/"; then
        kill -KILL "$one" 2>/dev/null
    fi
done
umount "$dir"/small 2>/dev/null
[ -n "$LECTERN_TEST_KEEP" ] && exit 0
# Unpacked bundles and environments are read-only, which holds back everybody but root.
chmod -R u+w "$dir"
rm -rf "$dir"
