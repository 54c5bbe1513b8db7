#!/bin/bash
# record.sh STORKIT CLAUDE_STAND_IN STORY_AGENT: makes project.tar.gz with a storkit of the version that still committed stories to
# the base branch (e790fd1), killed in the middle of everything. The archive has `project` and `home`, as they were in /tmp/storkit-recording.
set -eu
storkit=$1 stand_in=$2 story_agent=$3 here=$(dirname "$(readlink -f "$0")")
place=/tmp/storkit-recording
rm -rf $place && mkdir -p $place/project $place/home $place/bin && cd $place/project
export HOME=$place/home CLAUDE_CONFIG_DIR=$place/home/.claude GIT_AUTHOR_NAME=Ann GIT_AUTHOR_EMAIL=ann@example.org
export GIT_COMMITTER_NAME=Ann GIT_COMMITTER_EMAIL=ann@example.org GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null
unset XDG_STATE_HOME
trap 'jobs -p | xargs -r kill 2> /dev/null' EXIT

# Rooms talk to the stand-in, stories to the story agent.
cp "$story_agent" $place/story_agent.py
cat > $place/agent <<END
#!/bin/sh
case "\$*" in *stream-json*--input-format*|*--input-format*) exec $stand_in "\$@" ;; esac
exec python3 $place/story_agent.py "\$@"
END
chmod +x $place/agent

# A git that ends its storkit where the landing of story 6 would move base.
cat > $place/bin/git <<END
#!/bin/bash
if [ -e $place/kill-it ] && [[ "\$*" == *update-ref* && "\$*" == *"storkit: merge 6"* ]]; then kill -9 \$PPID; exit 1; fi
exec $(command -v git) "\$@"
END
chmod +x $place/bin/git

git init -q -b main --template=
printf 'first\n' > shared.txt
printf '*.marker\n' > .gitignore
printf 'if grep -rl "<<<<<<<" *.txt; then exit 1; fi\n' > gate.sh
git add . && git commit -qm 'the project'
mkdir .storkit
cat > .storkit/project.toml <<END
gates = ["sh gate.sh"]
sweep_after = "0"
[[agent]]
name = "coder"
stage = "coder"
count = 4
[[agent]]
name = "qa"
stage = "qa"
count = 3
[[agent]]
name = "merger"
stage = "mergemaster"
END
printf '# A shop\n\nIt sells doors.\n' > .storkit/context.md
git add -f .storkit/project.toml .storkit/context.md && git commit -qm 'storkit: set up'
printf '[claude]\ncommand = ["%s"]\n[pipeline]\nrooms = ["console:main"]\n[relay]\nworkspace = "checkout"\n[wall]\nvisible = ["%s", "%s"]\n' \
    $place/agent $place/story_agent.py "$stand_in" > .storkit/bot.toml
chmod 600 .storkit/bot.toml
"$storkit" trust --yes > /dev/null
PATH=$place/bin:$PATH "$storkit" serve --port 0 2> $place/log &
until [ -S .storkit/run/console.sock ]; do sleep 0.2; done

say() { (printf '%s\n' "$@"; sleep 2) | "$storkit" chat > /dev/null || true; }
until_true() { for _ in $(seq 300); do if eval "$1"; then return; fi; sleep 0.2; done; echo "never: $1" >&2; exit 1; }
in_stage() { [ -n "$(find .storkit/work/"$2" -name "$1_*" 2> /dev/null)" ]; }
story() { # ID LINES: a new story in the backlog, as an editor makes it
    printf -- '---\nname: Story %s\n%s---\n# Story %s\n\n%s\n' "$1" "${3-}" "$1" "$2" > .storkit/new
    mv .storkit/new ".storkit/work/1_backlog/$1_story_number.md"
}
stands='sleep 100000'
say 'bash touch made' 'always'
for id in 9 10; do
    story $id "do: echo $id > s$id.txt; git add -A; git commit -qm 'story $id'"
    until_true "git log --format=%s main | grep -q 'create $id'"
    say "start $id"
    until_true "in_stage $id 5_done"
done
until_true "say 'move 10 archived'; in_stage 10 6_archived"
story 1 'not begun'
# Half of it is committed, half is not.
story 2 "do: test -e s2.txt || { echo 2 > s2.txt; git add s2.txt; git commit -qm 'half of 2'; }
do: if ! test -e more2.txt; then echo more > more2.txt; touch stands.marker; $stands; fi
do: git add -A; git commit -qm 'rest of 2'"
story 3 "do: touch stands.marker; test -e again.marker || { touch again.marker; $stands; }
do: echo 3 > s3.txt; git add -A; git commit -qm 'story 3'"
story 4 "do: echo 4 > s4.txt; git add -A; git commit -qm 'story 4'
review: test -e reviewed.marker || { touch reviewed.marker; $stands; }"
story 5 "do: echo 5 > s5.txt; git add -A; git commit -qm 'story 5'" $'manual_qa: true\n'
story 8 "do: echo 8 > shared.txt; git commit -qam 'story 8'
review: until test -e go.marker; do sleep 0.1; done
merge: echo eight > shared.txt; test -e half.marker || { touch half.marker; $stands; }
merge: git add shared.txt"
sleep 3
for id in 2 3 4 5 8; do say "start $id"; done
until_true 'in_stage 5 3_qa && in_stage 4 3_qa && in_stage 8 3_qa'
until_true '[ -e .storkit/worktrees/2_number/stands.marker ] && [ -e .storkit/worktrees/3_number/stands.marker ]'
until_true '[ -e .storkit/worktrees/4_number/reviewed.marker ]'
say 'stop 3'
until_true 'grep -q ^blocked: .storkit/work/2_current/3_*'
printf 'second\n' > shared.txt && git commit -qm 'change shared.txt' shared.txt
touch .storkit/worktrees/8_number/go.marker
until_true '[ -e .storkit/worktrees/merge-8/half.marker ]'
story 6 "do: echo 6 > s6.txt; git add -A; git commit -qm 'story 6'"
story 7 "do: echo 7 > s7.txt; git add -A; git commit -qm 'story 7'
review: until test -e go.marker; do sleep 0.1; done"
sleep 3
say 'start 7'
until_true 'in_stage 7 3_qa'
touch $place/kill-it
say 'start 6' || true
until_true '! kill -0 %1 2> /dev/null'
sleep 1
[ -e .storkit/run/merge.json ] || { echo "no journal" >&2; exit 1; }
cd $place
# The folders of processes have sockets, and every start removes those of processes that are gone.
tar --sort=name --owner=0 --group=0 --numeric-owner -czf "$here/project.tar.gz" --exclude=console.sock --exclude='run/cc-*' \
    --exclude=run/checkout --exclude=scratch project home
