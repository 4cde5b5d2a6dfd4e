// Package cli holds the operator commands of the decnet binary: a client of the REST API, a reader of the event bus and
// a check of the machine.
//
// It is not the control plane: it decides nothing, keeps nothing but an access token, and reaches the installation only
// through the API and the bus. What a server sends may hold attacker bytes, so nothing of it reaches a terminal before
// [Clean] or, in JSON, an escape of the same value. It has no state of its own: everything comes from an [Env].
package cli

import (
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// Env is what commands see of the process that runs them.
type Env struct {
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	// Environ holds "NAME=value" pairs, as os.Environ returns them. The last one of a name wins.
	Environ []string
	// IsTerminal tells whether a person is at one of the three streams; nil asks the operating system.
	IsTerminal func(stream any) bool
	// ReadPassword reads one line from Stdin, a terminal, without echo; nil asks the operating system.
	ReadPassword func() (string, error)
	// Width returns the columns of a stream that is a terminal; nil asks the operating system.
	Width func(stream any) int
}

// descriptor is a stream with a file descriptor behind it.
type descriptor interface{ Fd() uintptr }

func (e Env) isTerminal(stream any) bool {
	if e.IsTerminal != nil {
		return e.IsTerminal(stream)
	}
	f, ok := stream.(descriptor)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (e Env) readPassword() (string, error) {
	if e.ReadPassword != nil {
		return e.ReadPassword()
	}
	f, ok := e.Stdin.(descriptor)
	if !ok {
		return "", errors.New("standard input is no terminal")
	}
	b, err := term.ReadPassword(int(f.Fd()))
	return string(b), err
}

const defaultWidth = 80

func (e Env) width(stream any) int {
	if e.Width != nil {
		return e.Width(stream)
	}
	if f, ok := stream.(descriptor); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			return w
		}
	}
	return defaultWidth
}

// lookup returns the last value of a variable, "" when it is unset.
func (e Env) lookup(name string) string {
	var value string
	for _, entry := range e.Environ {
		if v, ok := strings.CutPrefix(entry, name+"="); ok {
			value = v
		}
	}
	return value
}

// Commands returns the operator commands, from login to doctor, to be added to the root. They print results on Stdout and everything else on Stderr, and return their errors unprinted: the caller
// prints the error, which is safe for a terminal and may have several lines, and exits with [ExitCode]. Cancelling
// the context (Ctrl-C) stops waiting, never the operation waited for. One set serves one execution at a time.
func Commands(env Env) []*cobra.Command {
	a := &app{env: env}
	commands := []*cobra.Command{
		a.loginCommand(), a.logoutCommand(), a.deckiesOfTopologies(a.deckiesCommand()), a.topologiesCommand(),
		a.servicesCommand(), a.archetypesCommand(), a.operationsCommand(), a.importCommand(), a.importsCommand(),
		a.eventsCommand(), a.attackersCommand(), a.sessionsCommand(), a.capturedCommandsCommand(), a.bountiesCommand(),
		a.capturedCredentialsCommand(), a.reuseCommand(), a.artifactsCommand(), a.ingestStatusCommand(), a.retentionCommand(),
		a.busCommand(), a.statusCommand(), a.doctorCommand(),
	}
	for _, c := range commands {
		UsageErrors(c)
		quiet(c)
	}
	return commands
}

// quiet keeps cobra from printing the whole usage below every error.
func quiet(c *cobra.Command) {
	c.SilenceUsage = true
	for _, sub := range c.Commands() {
		quiet(sub)
	}
}

// app is one set of commands and the values of their flags.
type app struct {
	env   Env
	flags flags
}

// flags are the values of the flags that several commands share.
type flags struct {
	apiURL    string
	token     string
	readyFile string
	dataDir   string
	natsURL   string
	topology  string
	output    outputFormat
	file      string // of --output where it may name one
	timeout   time.Duration
	wait      bool
	noWait    bool
}

const (
	defaultTimeout = 60 * time.Second
	defaultDataDir = "./data"
)

// clientFlags declares what every command that calls the API accepts.
func (a *app) clientFlags(c *cobra.Command) {
	f := c.PersistentFlags()
	f.StringVar(&a.flags.apiURL, "api-url", "", "base of the API (environment: DECNET_API_URL; else the ready file, else "+defaultAPIURL+")")
	f.StringVar(&a.flags.token, "token", "", "access token; prefer DECNET_TOKEN or decnet login, a command line is visible to others")
	a.readyFlags(c)
	a.outputFlag(c)
	a.timeoutFlag(c, "how long to wait for the outcome")
}

// readyFlags declares how a running installation on this machine is found.
func (a *app) readyFlags(c *cobra.Command) {
	f := c.PersistentFlags()
	f.StringVar(&a.flags.readyFile, "ready-file", "", "ready file of a running decnet (environment: DECNET_READY_FILE; else run/ready.json in the data directory)")
	f.StringVar(&a.flags.dataDir, "data-dir", defaultDataDir, "data directory of a running decnet (environment: DECNET_DATA_DIR)")
}

func (a *app) outputFlag(c *cobra.Command) {
	c.PersistentFlags().VarP(&a.flags.output, "output", "o", "json or table (default: table on a terminal, json otherwise)")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"json", "table"}, cobra.ShellCompDirectiveNoFileComp))
}

func (a *app) timeoutFlag(c *cobra.Command, usage string) {
	c.PersistentFlags().DurationVar(&a.flags.timeout, "timeout", defaultTimeout, usage)
}

// waitFlags declares whether a command that starts an operation stays until it ended.
func (a *app) waitFlags(c *cobra.Command) {
	f := c.PersistentFlags()
	f.BoolVar(&a.flags.wait, "wait", false, "wait until the operation ended (what changes something waits unless told otherwise)")
	f.BoolVar(&a.flags.noWait, "no-wait", false, "return as soon as the operation is accepted")
}

// outputFormat is json, table, or "" when it depends on where the output goes.
type outputFormat string

const (
	outputJSON  outputFormat = "json"
	outputTable outputFormat = "table"
)

// String returns the format.
func (o *outputFormat) String() string { return string(*o) }

// Type returns the word that stands for the value in usage texts.
func (o *outputFormat) Type() string { return "format" }

// Set accepts json and table.
func (o *outputFormat) Set(s string) error {
	switch outputFormat(s) {
	case outputJSON, outputTable:
		*o = outputFormat(s)
		return nil
	}
	return errors.New("must be json or table")
}

// outputTo is the --output of commands that can write a file.
type outputTo struct{ *flags }

// String returns what was given.
func (o outputTo) String() string {
	if o.flags == nil {
		return ""
	}
	return o.file + string(o.output)
}

// Type returns the word that stands for the value in usage texts.
func (o outputTo) Type() string { return "format|file" }

// Set takes json and table for formats and everything else for the name of a file.
func (o outputTo) Set(s string) error {
	if o.output.Set(s) != nil {
		o.file = s
	}
	return nil
}

// fileFlag lets --output name a file as well.
func (a *app) fileFlag(c *cobra.Command, usage string) {
	c.Flags().VarP(outputTo{&a.flags}, "output", "o", usage)
}

// takeFile returns the file that --output names, "" for none.
func (a *app) takeFile() string {
	name := a.flags.file
	a.flags.file = ""
	return name
}

func (a *app) format() outputFormat {
	switch {
	case a.flags.output != "":
		return a.flags.output
	case a.env.isTerminal(a.env.Stdout):
		return outputTable
	}
	return outputJSON
}

// readInput returns the content of a file, or of Stdin for "-".
func (a *app) readInput(name string) ([]byte, error) {
	r := a.env.Stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
		r = f
	}
	b, err := io.ReadAll(io.LimitReader(r, maxInputBytes+1))
	if err == nil && len(b) > maxInputBytes {
		err = errors.New("is larger than 1 MiB")
	}
	return b, err
}

// maxInputBytes bounds what is read from a file or Stdin; the API accepts less.
const maxInputBytes = 1 << 20
