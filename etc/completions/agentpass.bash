# bash completion for agentpass(1). Commands and options come from the program's own --help, so that they are never
# out of date. It asks no gateway: pressing a key must not send anything.

# The words that begin the lines of the section "$2:" in the help of "agentpass $1".
_agentpass_help() {
    local program=${COMP_WORDS[0]/#\~/$HOME}
    # $1 is a command of one or two words, or none.
    # shellcheck disable=SC2086
    "$program" $1 --help 2>/dev/null | awk -v section="$2:" '
        /^[^ ]/ { inside = ($0 == section) }
        inside && /^  [^ ]/ { print $1 }' | tr -d ,
}

_agentpass() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command="" words="" options
    # A line that begins with an option is one of "serve".
    ((COMP_CWORD > 1)) && command=${COMP_WORDS[1]}
    [[ $command == -* ]] && command=serve
    case $command in
        audit | channels | clock | grants | hook | limits | mcp | policy)
            ((COMP_CWORD > 2)) && [[ ${COMP_WORDS[2]} != -* ]] && command+=" ${COMP_WORDS[2]}"
            ;;
    esac
    # "--name=value" comes as three words.
    if [[ $current == "=" ]]; then
        current=""
    elif [[ $previous == "=" ]]; then
        previous=${COMP_WORDS[COMP_CWORD - 2]}
    fi

    if [[ $current == -* ]]; then
        options=$(_agentpass_help "${command:-serve}" Options)
        [[ -n $command ]] || options+=" --version"
        words=$(compgen -W "$options" -- "$current")
    elif [[ $command == "" || $command == audit || $command == channels || $command == clock || $command == grants || $command == hook || $command == limits || $command == mcp || $command == policy ]]; then
        words=$(compgen -W "$(_agentpass_help "$command" Commands)" -- "$current")
    else
        case $previous in
            --log-level) words=$(compgen -W "error warn info debug trace" -- "$current") ;;
            --decision) words=$(compgen -W "allow ask deny" -- "$current") ;;
            --outcome)
                options="executed permitted failed denied timed_out withdrawn refused unknown pending"
                words=$(compgen -W "$options" -- "$current")
                ;;
            --starter)
                options="home read-only ask-everything deny-by-default spend-cap pii-egress refunds shell-and-browser mcp-tools"
                words=$(compgen -W "$options" -- "$current")
                ;;
            --config | --permissions | --socket | --token-file | --ca-cert | init | verify | test | analyze)
                words=$(compgen -f -- "$current")
                compopt -o filenames 2>/dev/null
                ;;
        esac
    fi
    COMPREPLY=()
    [[ -z $words ]] || mapfile -t COMPREPLY <<<"$words"
}

complete -F _agentpass agentpass
