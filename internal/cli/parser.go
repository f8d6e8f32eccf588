package cli

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"gatehouse/internal/config"
)

// newParser returns the parser of the command line into c. It calls exit after --help and --version.
func newParser(c *cli, io IO, exit func()) (*kong.Kong, error) {
	return kong.New(c,
		kong.Name("gatehouse"),
		kong.Description("Single sign-on that any app can check with one Redis lookup."),
		kong.Vars{"version": "gatehouse " + config.Version()},
		kong.Writers(io.Out, io.Err),
		kong.Exit(func(int) { exit() }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, Tree: true, WrapUpperBound: 100}),
		kong.TypeMapper(reflect.TypeFor[time.Duration](), kong.MapperFunc(decodeDuration)),
	)
}

// decodeDuration parses the value of a duration, in which days are allowed.
func decodeDuration(ctx *kong.DecodeContext, target reflect.Value) error {
	var text string
	if err := ctx.Scan.PopValueInto("duration", &text); err != nil {
		return err
	}
	d, err := config.ParseDuration(text)
	if err != nil {
		return err
	}
	target.SetInt(int64(d))
	return nil
}

// unsetEmpty unsets the variables of flags that are set to the empty string, which kong would take for a value.
func unsetEmpty(model *kong.Application) {
	for _, flag := range model.Flags {
		for _, name := range flag.Envs {
			if os.Getenv(name) == "" {
				os.Unsetenv(name)
			}
		}
	}
}

// unsetInvalid unsets the variables of flags whose values have the wrong type, and returns what is wrong with each. Kong
// would stop at the first.
func unsetInvalid(model *kong.Application) config.Faults {
	var faults config.Faults
	for _, flag := range model.Flags {
		for _, name := range flag.Envs {
			text, ok := os.LookupEnv(name)
			if !ok {
				continue
			}
			if err := checkType(flag, name, text); err != nil {
				faults = append(faults, err)
				os.Unsetenv(name)
			}
		}
	}
	return faults
}

// checkType returns an error, as kong would, if a flag cannot have the value of the variable.
func checkType(flag *kong.Flag, variable, text string) error {
	target := reflect.New(flag.Target.Type()).Elem()
	scan := kong.ScanFromTokens(kong.Token{Type: kong.FlagValueToken, Value: text})
	if err := flag.Mapper.Decode(&kong.DecodeContext{Value: flag.Value, Scan: scan}, target); err != nil {
		return fmt.Errorf("%s: %w", variable, err)
	}
	if flag.Enum != "" && !slices.Contains(flag.EnumSlice(), text) {
		return fmt.Errorf("%s must be one of %s, and not %q", variable, strings.Join(flag.EnumSlice(), ", "), text)
	}
	return nil
}

// badFlag matches an error about the value of a flag.
var badFlag = regexp.MustCompile(`^--([a-z-]+)(?:=[^\s:]+)?(:? .*?)(?: \(from envar .*\))?$`)

// nameVariable adds the variable's name to an error about a setting, because most settings come from the environment.
func nameVariable(model *kong.Application, err error) error {
	m := badFlag.FindStringSubmatch(err.Error())
	if m == nil {
		return err
	}
	for _, flag := range model.Flags {
		if flag.Name == m[1] && len(flag.Envs) > 0 {
			return fmt.Errorf("%s (--%s)%s", flag.Envs[0], m[1], m[2])
		}
	}
	return err
}

// commandOf returns the command in the arguments that a kong.ParseError is about, such as " user add"; "" for none.
func commandOf(args []string, err error) string {
	parsing, ok := errors.AsType[*kong.ParseError](err)
	if !ok || parsing.Context == nil {
		return ""
	}
	command := ""
	for _, p := range parsing.Context.Path {
		if p.Command != nil && slices.Contains(args, p.Command.Name) { // and not the default
			command += " " + p.Command.Name
		}
	}
	return command
}

// isGiven reports whether a setting comes from a flag or the environment, as opposed to being its default.
func isGiven(parsed *kong.Context, setting string) bool {
	return os.Getenv(setting) != "" || slices.ContainsFunc(parsed.Path, func(p *kong.Path) bool {
		return p.Flag != nil && slices.Contains(p.Flag.Envs, setting)
	})
}

// capIdleTimes lowers the idle times that were not given to the lifetimes that were.
func capIdleTimes(parsed *kong.Context, s *config.Settings) {
	if !isGiven(parsed, "SESSION_IDLE") {
		s.SessionIdle = min(s.SessionIdle, max(s.SessionLifetime, time.Second))
	}
	if !isGiven(parsed, "REMEMBER_IDLE") {
		s.RememberIdle = min(s.RememberIdle, max(s.RememberLifetime, time.Second))
	}
}

// variables returns the names of all settings.
func variables(model *kong.Application) []string {
	var names []string
	for _, flag := range model.Flags {
		names = append(names, flag.Envs...)
	}
	return names
}
