package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/decnet/decnet/internal/embedded"
	"github.com/decnet/decnet/internal/fault"
)

const (
	defaultAPIURL = "http://127.0.0.1:8080/api/v1"
	apiPath       = "/api/v1"
)

// target is an API and how we came to it.
type target struct {
	base   string // without a slash at its end
	source string
}

// String names the API for messages.
func (t target) String() string { return fmt.Sprintf("%s (%s)", Clean(t.base), t.source) }

// findAPI returns the API to use: flag, environment, ready file, default.
func (a *app) findAPI(c *cobra.Command) (target, error) {
	if a.flags.apiURL != "" {
		return parseAPI(a.flags.apiURL, "from --api-url")
	}
	if v := a.env.lookup("DECNET_API_URL"); v != "" {
		return parseAPI(v, "from DECNET_API_URL")
	}
	ready, path, err := a.findReady(c)
	switch {
	case err == nil:
		return parseAPI(ready.APIURL, "from the ready file "+Clean(path))
	case a.namesReadyFile(c):
		return target{}, err
	}
	return target{base: defaultAPIURL, source: "the default: " + Clean(plain(err).Error())}, nil
}

func parseAPI(text, source string) (target, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return target{}, usagef("the API address %s must be a URL such as %s", source, defaultAPIURL)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return target{}, usagef("the API address %s must hold neither a user, a query nor a fragment", source)
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = apiPath
	}
	return target{base: strings.TrimRight(u.String(), "/"), source: source}, nil
}

// namesReadyFile reports whether the operator named the ready file: then it must be usable.
func (a *app) namesReadyFile(c *cobra.Command) bool {
	return c.Flags().Changed("ready-file") || a.env.lookup("DECNET_READY_FILE") != ""
}

// findReady returns the ready file of this machine's decnet and where it was found. The error says why there is none.
func (a *app) findReady(c *cobra.Command) (embedded.ReadyFile, string, error) {
	path, named := a.readyPath(c)
	if !named {
		if err := trustworthy(path); err != nil {
			return embedded.ReadyFile{}, path, err
		}
	}
	ready, err := embedded.ReadReadyFile(path)
	if f, ok := fault.As(err); ok {
		safe := f.Safe() // its causes only repeat it
		err = &safe
	}
	return ready, path, err
}

// plain returns an error with the message of a fault alone, for use within a sentence.
func plain(err error) error {
	if f, ok := fault.As(err); ok {
		return errors.New(f.Message)
	}
	return err
}

// readyPath returns where the ready file should be, and whether the operator said so.
func (a *app) readyPath(c *cobra.Command) (path string, named bool) {
	if c.Flags().Changed("ready-file") {
		return a.flags.readyFile, true
	}
	if v := a.env.lookup("DECNET_READY_FILE"); v != "" {
		return v, true
	}
	dir, named := a.flags.dataDir, c.Flags().Changed("data-dir")
	if v := a.env.lookup("DECNET_DATA_DIR"); v != "" && !named {
		dir, named = v, true
	}
	return filepath.Join(dir, "run", "ready.json"), named
}

// trustworthy refuses a ready file of somebody else below the working directory: passwords and tokens go where it says.
func trustworthy(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // reported better by its reader
	}
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fault.New(fault.Unavailable, "ready_file_foreign",
			"%s belongs to another user and is not used unless --data-dir names its directory", path)
	}
	return nil
}
