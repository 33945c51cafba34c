#!/usr/bin/env bash
# tools/dev/check_wild.sh accepts the library's sources, and refuses each kind of violation where it is planted into a copy of one.
set -euo pipefail
check=$1 sources=$2
folder=$(mktemp -d "${TMPDIR:-/tmp}/vmrpc-test-XXXXXX")
trap 'rm -rf "$folder"' EXIT

"$check" "$sources" || { echo "the sources are refused" && exit 1; }

mkdir "$folder/call"
planted() { # LINE
    cp "$sources/call/server_frame.cpp" "$folder/call/"
    "$check" "$folder" 2>/dev/null || { echo "refused before anything was planted" && exit 1; }
    printf '%s\n' "$1" >>"$folder/call/server_frame.cpp"
    if "$check" "$folder" >/dev/null 2>"$folder/said"; then
        echo "accepted: $1" && exit 1
    fi
    grep -qF -- "$1" "$folder/said" || { echo "refused, but not named: $1" && exit 1; }
}
planted 'std::byte* place(const Endpoint& endpoint, const WireSpan& wire) { return endpoint.segment() + wire.offset; }'
planted 'auto* frame = segment_ + request.body.frame_offset;'
planted 'auto* other = endpoint.segment() + offset_of_somebody;'
planted 'auto* block = vm_->base() + offer.region_offset.load_relaxed();'
planted 'auto* object = reinterpret_cast<Node*>(wire.offset);'
planted 'auto* object = reinterpret_cast<Node*>(where.untrusted());'
planted 'layout::Reply& line = lane_->replies[request.body.slot];'
planted 'auto& entry = entries_[queue.tail.load_acquire()];'
planted 'const auto offset = where.untrusted();'

# What is only said in a comment is none.
cp "$sources/call/server_frame.cpp" "$folder/call/"
printf '// segment_ + wire.offset would be one\nint x = 0;  // wild.untrusted()\n' >>"$folder/call/server_frame.cpp"
"$check" "$folder"
