#!/usr/bin/env bash
# serve_test.sh: `vitrine serve` from outside: what it answers, what it refuses, and that it loses nothing.
#
#   tests/serve_test.sh build/examples/vitrine
set -u

vitrine=$(realpath "${1:?usage: serve_test.sh PROGRAM}")
tests=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$tests/cases.sh"
work=$(mktemp -d)
server=
trap '[[ -z $server ]] || kill -9 $server 2>/dev/null; rm -rf "$work"' EXIT
cd "$work" || exit 1
python=$(command -v /usr/bin/python3 || command -v python3)
export OMP_WAIT_POLICY=passive
unset VITRINE_TOKEN
if "$vitrine" serve --tasks none --port 0 --token-file none 2>&1 | grep -qF 'libcpp-httplib-dev'; then
  skip_cases "the program was built without cpp-httplib, which vitrine serve needs"
  end_cases
  exit
fi

client() { "$python" "$tests/serve/client.py" "$@"; }
token=a-token-of-the-tests
printf '%s\n' $token >token
echo short >short
# starts NAME OPTION... : a case: a server whose words are in said and notes; sets server and port
starts() {
  local name=$1
  shift
  port=
  rm -f said notes  # those of the last one
  "$vitrine" serve --tasks tasks --port 0 --threads 2 "$@" >said 2>notes &
  server=$!
  for _ in $(seq 600); do
    port=$(sed -nE 's|^Listens +http://127.0.0.1:([0-9]+)$|\1|p' said notes 2>/dev/null | head -n 1)
    [[ -z $port ]] && kill -0 $server 2>/dev/null || break
    sleep 0.05
  done
  check_case "$name" started
}
started() { [[ -n $port ]] || { cat said notes; return 1; }; }
# ends NAME : a case: the server ends, and well
ends() {
  ended=0
  wait $server || ended=$?
  server=
  check_case "$1" ended_well
}
ended_well() { ((ended == 0)) || { echo "status $ended"; cat said notes; return 1; }; }
stops() {
  kill -TERM $server
  ends "$1"
}
refuses() { # WORDS STATUS COMMAND...
  local words=$1 wanted=$2 status=0
  shift 2
  timeout 60 "$@" >out 2>&1 || status=$?
  [[ $status == "$wanted" ]] && grep -qF -- "$words" out || { echo "status $status"; cat out; return 1; }
}
tuned() { # METHOD NAME OPTION...
  "$vitrine" tune --data synthetic:stripes --train-limit 60 --epochs 1 --batch 16 --no-test --method "$1" --out "runs/$2" "${@:3}" >out 2>&1 || cat out
}

mkdir tasks told data
"$python" "$tests/serve/client.py" draw data/stripes
mkdir secret && client png 8 >secret/secret.png && ln -s "$work/secret" data/out
client png 40 >small.png
tuned vpt-deep deep --prompts 4
tuned linear linear
tuned bias bias
tuned vpt-shallow shallow --prompts 3
tuned linear swin --backbone builtin-swin
for task in deep linear bias shallow; do
  cp runs/$task/task.safetensors tasks/$task.safetensors
  "$vitrine" predict --task runs/$task/task.safetensors --json "$tests/golden/images/colour.jpg" "$tests/golden/images/alpha.png" small.png >told/$task.json 2>/dev/null
done

check_case "it refuses to start with a token that is none" refuses "expected a token of 16 to 1024" 1 \
  "$vitrine" serve --tasks tasks --port 0 --token-file short
check_case "... and takes none on the command line" refuses "unknown option '--token'" 1 "$vitrine" serve --tasks tasks --token $token
check_case "it needs a folder for tasks" refuses "--tasks" 1 "$vitrine" serve
starts "it starts with the tasks of a folder" --token-file token --data-root data --max-body 100K --timeout 1 --max-tunings 2
ready() { grep -E '^Tasks +4 tasks in .tasks.: bias, deep, linear, shallow' said; }
check_case "... and says so" ready
check_case "a second one does not take the folder" refuses "tasks" 2 "$vitrine" serve --tasks tasks --port 0
check_case "nor the port" refuses "cannot listen on 127.0.0.1:$port" 2 "$vitrine" serve --tasks others --port "$port"
check_case "many clients get what vitrine predict says, in fewer batches" client answers "$port" told "$tests/golden/images/colour.jpg" "$tests/golden/images/alpha.png" small.png
check_case "tasks come and go, with the token alone" client changes "$port" tasks runs/deep/task.safetensors runs/swin/task.safetensors
check_case "hostile requests are refused, and leave nothing" client hostile "$port" tasks small.png 102400
check_case "slow clients are let go" client slow "$port" "$tests/golden/images/colour.jpg" 1
check_case "it learns from folders below its root, one tuning at a time" client tunings "$port" data small.png
stops "it stops when it is asked to"
summed_up() { grep -E '^Answered +[0-9,]+ requests, [0-9,]+ pictures in [0-9,]+ batches' said && grep -E '^Tunings +1 tuning cancelled' said; }
check_case "... and says what it did" summed_up

# What was uploaded is there again; what does not belong there is left out, aloud.
cp runs/swin/task.safetensors tasks/swin.safetensors
echo nothing >tasks/broken.safetensors
echo nothing >"tasks/a b.safetensors"
export VITRINE_TOKEN=$token
starts "it starts again, with the token of the environment"
unset VITRINE_TOKEN
left_out() {
  ready && for file in swin broken 'a b'; do grep -F "'tasks/$file.safetensors' is left out" notes || return 1; done
}
check_case "... with its tasks, and says what it leaves out" left_out
learns_nothing() { curl_like POST /tunings; }
curl_like() { "$python" -c 'import http.client, sys
c = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1])); c.request(sys.argv[2], sys.argv[3], b"{}", {"Authorization": "Bearer " + sys.argv[4]})
print(c.getresponse().status)' "$port" "$1" "$2" "$token" | grep -qx 403; }
check_case "without a root there are no tunings" learns_nothing
stops "it stops again"
rm "tasks/swin.safetensors" "tasks/broken.safetensors" "tasks/a b.safetensors"
starts "it starts without a token"
takes_nothing() { curl_like PUT /tasks/x && curl_like DELETE /tasks/deep && [[ -f tasks/deep.safetensors ]]; }
check_case "... and takes no changes" takes_nothing
stops "it stops once more"

# Loaded beyond what it takes, and stopped in the midst of it.
starts "a server of narrow bounds starts" --queue 3 --connections 6 --batch 4 --json
loses_nothing() { client load "$port" small.png $server 24 3 counted; }
check_case "every request gets 200 or 503, also while it stops" loses_nothing
ends "... which ends well"
counts_agree() {
  "$python" -c 'import json
own, told = json.load(open("said")), json.load(open("counted"))
print(own, told)
assert own["requests"] + own["turned_away"] == told["answered"] and own["pictures"] == told["good"]'
}
check_case "... and both sides have counted the same" counts_agree

# Who connects and says nothing keeps nobody from his 503.
starts "a server for a few starts" --connections 4 --json
told_at_once() {
  "$python" - "$port" <<'END'
import socket, sys, time
port = int(sys.argv[1])
idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(150)]
began = time.monotonic()
asks = socket.create_connection(("127.0.0.1", port))
asks.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
asks.settimeout(20)
said = asks.recv(1000)
print(said, time.monotonic() - began)
assert b" 503 " in said and time.monotonic() - began < 10
END
}
check_case "150 connections that say nothing: the next one is told to come again at once" told_at_once
stops "... and the server ends"
end_cases
