# What the scripts around the Supabase CLI share; sourced by them.

fail() { # SCRIPT SENTENCE
    printf '%s: %s\n' "$1" "$2" >&2
    exit 2
}

need_cli() { # SCRIPT
    command -v supabase >/dev/null || fail "$1" "the Supabase CLI is not on PATH: npm install --global supabase"
}

# The option changed its name between versions 2 and 3 of the CLI.
remote_option() {
    if [[ "$(supabase db push --help 2>&1)" == *--db-url* ]]; then echo --db-url; else echo --remote; fi
}

# Arguments show in the process list: a password in the variable of this name moves to PGPASSWORD.
take_password_out_of() { # VARIABLE
    local url="${!1}"
    if [[ "$url" =~ ^(postgres(ql)?://)([^/?#@:]*):([^/?#@]*)@(.*)$ ]]; then
        local password="${BASH_REMATCH[4]}"
        printf -v "$1" '%s' "${BASH_REMATCH[1]}${BASH_REMATCH[3]}@${BASH_REMATCH[5]}"
        if [[ -z "${PGPASSWORD:-}" ]]; then printf -v PGPASSWORD '%b' "${password//%/\\x}"; fi
    fi
    export PGPASSWORD="${PGPASSWORD:-}" "${1?}"
}
