# Labels where SELinux is enforced: run by init.sh as root, in the domain admin_t. Prints a line for each
# check, and at the end how many passed.
passed=0 failed=0

# check NAME COMMAND…: the command succeeds.
check() {
  if "${@:2}" >/tmp/said 2>&1; then
    passed=$((passed + 1))
    echo "ok      $1"
  else
    failed=$((failed + 1))
    echo "FAILED  $1"
    sed 's/^/        /' /tmp/said
  fi
}
# Runs overlay-render, and keeps what it answered.
run() { answer=$(overlay-render "$@" 2>&1) && status=0 || status=$?; }
# did STATUS TEXT…: so it ended, and all this it said.
did() {
  echo "$status $answer"
  [ "$status" = "$1" ] && for text in "${@:2}"; do [[ $answer == *"$text"* ]] || return; done
}
# silent TEXT: it did not say this.
silent() { echo "$answer"; [[ $answer != *"$1"* ]]; }
not() { ! "$@"; }
label() { [ "$(stat -c %C "$2")" = "$1" ]; }
# shows PATH TEXT: the mount table has a mount on the path, with this among its options.
shows() { findmnt --noheadings --output FS-OPTIONS --mountpoint "$1" | grep --fixed-strings -e "$2"; }
mounted() { findmnt --noheadings --mountpoint "$1"; }
as() { runcon "system_u:system_r:$1" "${@:2}"; }
by_hand() { umount "$R"; mount -t overlay overlay -o "$dirs$1" "$R"; }

deno=/machine/deno
overlay-render() { ${domain:+runcon "system_u:system_r:$domain"} $deno run -A -q $v8 /machine/overlay-render.js "$@"; }
T=system_u:object_r:container_file_t:s0
mkdir image more pods
echo hello >image/motd
echo more >more/more
P=/srv/pods/one R=/srv/pods/one/app/rootfs U=/srv/pods/one/overlay/image
one=(--lower /srv/image --pod "$P" --app web --dest "$P/app")

# Labels, and what they are for. The kernel sorts the categories.
run render "${one[@]}" --label "$T:c2,c1" --json
check 'render mounts with a label' did 0 '"mounted":true'
for path in "$U/upper/web" "$U/work/web" "$R" "$R/motd"; do
  check "the label is on $path" label "$T:c1,c2" "$path"
done
check 'no directory above has it' label system_u:object_r:var_t:s0 "$U/upper"
check 'the kernel has the categories' shows "$R" "context=\"$T:c1,c2\""
check 'an app of these categories reads and writes' as container_t:s0:c1,c2 bash -c "cat $R/motd && echo x >$R/new && echo y >>$R/motd"
check 'what it made has the label' label "$T:c1,c2" "$U/upper/web/new"
check 'what it changed, and was copied up, has the label' label "$T:c1,c2" "$U/upper/web/motd"
as container_t:s0:c1,c2 bash -c "mkdir $R/dir && ln -s new $R/link"
check 'so has a directory that it made' label "$T:c1,c2" "$U/upper/web/dir"
check 'and a symlink' label "$T:c1,c2" "$U/upper/web/link"
check 'an app of other categories does not read' not as container_t:s0:c3 cat "$R/motd"
check 'nor does it read the image' not as container_t:s0:c1,c2 cat /srv/image/motd
run render "${one[@]}" --label "$T:c2,c1" --json
check 'a second render changes nothing' did 0 '"changed":false'
run render "${one[@]}" --label "$T:c3"
check 'another label is refused while it is mounted' did 3 'unmount it first'

# Mounts by hand.
dirs="lowerdir=/srv/image,upperdir=$U/upper/web,workdir=$U/work/web"
by_hand ",context=\"$T:c1,c2\""
run status --pod "$P" --json
check 'the same mounted by hand is the app' did 0 '"mounted":true'
by_hand ",context=\"$T:c1,c3\""
run status --pod "$P" --json
check 'with other categories it is foreign' did 0 '"mounted":false' '"drift":"foreign"'
run status --pod "$P" --check
check 'which monitoring is told of' did 1 'foreign: app "web"'
run unmount --pod "$P"
check 'and is not unmounted' did 3 'something else is mounted there, or the same without label'
by_hand ''
run restore --pod "$P"
check 'without a label it is foreign, and not taken for restored' did 1 'something else is mounted there'
umount "$R"
run restore --pod "$P"
check 'restore mounts' did 0 "$R"
check 'with the label' shows "$R" "context=\"$T:c1,c2\""
run unmount --pod "$P"
check 'unmount knows the mount' did 0
check 'and unmounts it' not mounted "$R"

# Many apps, views, copies, second names.
echo '{"pod": "/srv/pods/many", "apps": [
  {"app": "a", "lower": ["/srv/image"], "label": "'$T':c1", "dest": "/srv/pods/many/a"},
  {"app": "b", "lower": ["/srv/image"], "label": "'$T':c2", "dest": "/srv/pods/many/b"}]}' >spec
run render --spec spec --json
check 'one call mounts apps with labels of their own' did 0
check 'one has its categories' label "$T:c1" /srv/pods/many/a/rootfs/motd
check 'and the other its own' label "$T:c2" /srv/pods/many/b/rootfs/motd
view=(--lower /srv/more --lower /srv/image --app view --read-only)
run render "${view[@]}" --pod /srv/pods/view --dest /srv/pods/view/v --label "$T:c4"
check 'a view of several lowers is mounted' did 0
check 'with the label' label "$T:c4" /srv/pods/view/v/rootfs/more
run render --lower /srv/image --pod /srv/pods/copy --label "$T" --overlay never
check 'a copy with a label is refused' did 2 'a copy has no mount label'
check 'and nothing is made' not test -e /srv/pods/copy
alias=system_u:object_r:sandbox_file_t:s0:c1
run render "${one[@]/one/alias}" --label "$alias"
check 'a type is taken by its second name' did 0
run render "${one[@]/one/alias}" --label "$alias" --json
check 'and known by it' did 0 '"changed":false'

# Hints.
bad=system_u:object_r:nonsense_t:s0
run render "${one[@]/one/bad}" --label "$bad"
check 'a context that the policy does not have is told so' did 1 'Invalid argument' 'a context of the loaded policy'
check 'no file system is blamed' silent 'file system'
check 'and nothing is left' not test -e /srv/pods/bad
run render "${view[@]}" --pod /srv/pods/bad --label "$bad"
check 'so it is told of a view' did 1 "the SELinux policy has no context \"$bad\""
check 'whose upper is not blamed' silent 'upper'
run plan "${one[@]/one/bad}" --label "$bad"
check 'so it is told by plan' did 1 'error: Cannot mount' "has no context \"$bad\""
domain=keeper_t:s0
run render "${one[@]/one/kept}" --label "$T"
check 'who may not relabel is told so' did 1 'Permission denied' 'the policy forbids it'
check 'no file system is blamed' silent 'file system'
run render "${view[@]}" --pod /srv/pods/kept --label "$T"
check 'so it is told of a view' did 1 'does not let this process mount with that label'
check 'and nothing is left' not test -e /srv/pods/kept
domain=container_t:s0
run plan --lower /usr --pod /srv/pods/none
check 'who may not mount is told so by plan' did 1 'a security policy forbids this process to mount'

# V8 needs execmem, but for a cure.
domain=strict_t:s0
run --version
check 'without execmem Deno does not start' not did 0
v8=--v8-flags=--jitless
run plan --lower /usr --pod /srv/pods/none
check 'but without its compiler' did 0 'operations:'
domain='' v8=''

# mount(8) drops labels without this file.
mv /etc/selinux/config /etc/selinux/elsewhere
run render "${one[@]/one/dropped}" --label "$T:c1"
check 'a mount without its label fails' did 1 "mount left out label \"$T:c1\"" '/etc/selinux/config'
check 'and is taken back' not test -e /srv/pods/dropped
run restore --pod "$P"
check 'restore of what is not to be mounted does nothing' did 0
run render --spec spec
check 'what is mounted stays' did 0
umount /srv/pods/many/a/rootfs /srv/pods/many/b/rootfs
run restore --pod /srv/pods/many
check 'restore mounts nothing without its label' did 1 'mount left out label'
check 'and takes it back' not mounted /srv/pods/many/a/rootfs
run doctor
check 'doctor says what is missing' did 0 '/etc/selinux/config is missing'
mv /etc/selinux/elsewhere /etc/selinux/config

# SELinux is disabled for programs, as in a container.
mount -o remount,ro /sys/fs/selinux
run render "${one[@]/one/without}" --label "$T:c1" --json
check 'where selinuxfs is read-only the label is left out, and that is said' did 0 \
  "warning: label \"$T:c1\" is left out: SELinux is not enabled"
check 'the result has no label' silent 'context='
run restore --pod /srv/pods/many
check 'restore leaves labels out and says so' did 0 "label \"$T:c1\" is left out" "label \"$T:c2\" is left out"
run status --pod /srv/pods/many --json
check 'they count as mounted' did 0 '"mounted":true'
check 'and as right' silent drift
mount -o remount,rw /sys/fs/selinux
run status --pod /srv/pods/many --json
check 'but not once there is SELinux' did 0 '"drift":"foreign"'

echo "$passed passed, $failed failed"
