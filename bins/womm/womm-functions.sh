# shellcheck shell=sh
# shellcheck disable=SC2034 # $functions is for who sources it
# Sourced by womm and womm-parallel: the functions that the user's bash exports, for `--env NAME` of GNU parallel.

# exported_functions: $functions becomes them, as quoted words for env. They are variables with names like BASH_FUNC_f%%,
# which some shells, such as dash, do not hand on.
exported_functions() {
	functions=
	! grep -qs BASH_FUNC_ "/proc/$$/environ" || functions=$(
		tr '\n\0' '\001\n' <"/proc/$$/environ" | # a variable a line
			sed -n "/^BASH_FUNC_/{s/'/'\\\\''/g;s/.*/'&'/p;}" | # as a shell reads it
			tr '\n\001' ' \n'
	)
}
