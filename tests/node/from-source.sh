# Programs of pinned releases from source by Go's module proxy, without C, for the scripts beside this file, which source it with the
# folder to build `into`. What is there is not built again.
export CGO_ENABLED=0
jobs=${BUILD_JOBS:-2}
mkdir -p "${into:?}"

downloaded() { # module, version: where its source lies
    go mod download -json "$1@v$2" | sed -nE 's/^\s*"Dir": "(.*)",$/\1/p'
}

build() { # name, package, options of go build
    [ -x "$into/$1" ] && return
    echo "building $1 ($jobs jobs) ..." >&2
    go build -mod=mod -p "$jobs" -ldflags "-s -w ${3:-}" ${4:-} -o "$into/.$1" "$2"
    mv "$into/.$1" "$into/$1"
}

module() { # name, module, version: a module of our own that replaces what that one replaces, by versions only
    local source
    source=$(downloaded "$2" "$3")
    mkdir -p "$into/modules/$1"
    cd "$into/modules/$1"
    {
        echo "module node"
        grep -E '^(go|godebug) ' "$source/go.mod"
        echo "require $2 v$3"
        awk '/^replace \(/ {inside = 1} inside && !/=> \./ {print} /^\)/ {inside = 0} /^replace [^(]/ && !/=> \./ {print}' "$source/go.mod"
    } > go.mod
    install -m 644 "$source/go.sum" go.sum
}
