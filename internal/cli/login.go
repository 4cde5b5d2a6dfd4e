package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
)

const defaultUser = "admin"

// maxLineBytes bounds a line of standard input; a password has at most 72 bytes.
const maxLineBytes = 4096

func (a *app) loginCommand() *cobra.Command {
	var l login
	c := &cobra.Command{
		Use:   "login",
		Short: "Log in and save the access token for this user",
		Long: `Log in to the API and save the access token for this user of the machine, in decnet/credentials.json under
XDG_CONFIG_HOME (default: ~/.config), one for each API.

When the password must be changed first, a new one is asked for. With --password-stdin the first line is the password
and a second one, where there is one, the new password for that case.

With -o json the answer of the API is printed, token included.`,
		Example: `  decnet login
  decnet login --user admin --password-stdin < data/admin-password`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := a.session(c)
			if err != nil {
				return err
			}
			l.session = s
			return l.run(c.Context())
		},
	}
	a.clientFlags(c)
	c.Flags().StringVar(&l.user, "user", "", "user name (default: asked for, or the installation's admin)")
	c.Flags().BoolVar(&l.fromStdin, "password-stdin", false, "read the password from standard input")
	return c
}

// login is one execution of the command.
type login struct {
	session   *session
	user      string
	fromStdin bool
}

// loginAnswer is what the API says to a login that it accepts.
type loginAnswer struct {
	AccessToken string `json:"access_token"`
	MustChange  bool   `json:"must_change_password"`
}

func (l *login) run(ctx context.Context) error {
	user, err := l.userName()
	if err != nil {
		return err
	}
	password, err := l.password("Password for " + Clean(user))
	if err != nil {
		return err
	}
	r, answer, err := l.authenticate(ctx, user, password)
	if err == nil && answer.MustChange {
		if password, err = l.changePassword(ctx, answer.AccessToken, password); err != nil {
			return err
		}
		r, answer, err = l.authenticate(ctx, user, password)
	}
	if err != nil {
		return l.session.refused(err)
	}
	if err := l.save(user, answer.AccessToken); err != nil {
		return err
	}
	if l.session.flags.output == outputJSON { // only when asked for: it holds the token
		return l.session.writeBody(r.body)
	}
	return writeLines(l.session.env.Stdout, "logged in as "+Clean(user)+" at "+Clean(l.session.client.target.base))
}

func (l *login) userName() (string, error) {
	if l.user != "" {
		return l.user, nil
	}
	name := defaultUser
	if ready, _, err := l.session.findReady(l.session.cmd); err == nil && ready.AdminUser != "" {
		name = ready.AdminUser
	}
	if l.fromStdin || !l.session.env.isTerminal(l.session.env.Stdin) {
		return name, nil
	}
	_, _ = fmt.Fprintf(l.session.env.Stderr, "User [%s]: ", Clean(name))
	typed, err := readLine(l.session.env.Stdin)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if typed = strings.TrimSpace(typed); typed != "" {
		name = typed
	}
	return name, nil
}

func (l *login) password(prompt string) (string, error) {
	if !l.fromStdin {
		return l.session.askHidden(prompt)
	}
	line, err := readLine(l.session.env.Stdin)
	if errors.Is(err, io.EOF) {
		return "", usagef("there is no password on standard input")
	}
	return line, err
}

func (l *login) authenticate(ctx context.Context, user, password string) (reply, loginAnswer, error) {
	var answer loginAnswer
	r, err := l.post(ctx, "/auth/login", "", map[string]string{"username": user, "password": password})
	if err != nil {
		return r, answer, err
	}
	if err := r.decode(&answer); err != nil {
		return r, answer, err
	}
	if answer.AccessToken == "" {
		return r, answer, errors.New("the API accepted the login but sent no token")
	}
	return r, answer, nil
}

// changePassword returns the new password once the API has it.
func (l *login) changePassword(ctx context.Context, token, old string) (string, error) {
	l.session.note("The password must be changed before anything else.")
	fresh, err := l.newPassword()
	if err != nil {
		return "", err
	}
	_, err = l.post(ctx, "/auth/change-password", token, map[string]string{"old_password": old, "new_password": fresh})
	if err != nil {
		return "", l.session.refused(err)
	}
	l.session.note("The password is changed.")
	return fresh, nil
}

func (l *login) newPassword() (string, error) {
	if l.fromStdin {
		line, err := readLine(l.session.env.Stdin)
		if errors.Is(err, io.EOF) {
			return "", errors.New("the password must be changed: log in on a terminal, or give the new password as a second line")
		}
		return line, err
	}
	fresh, err := l.session.askHidden("New password")
	if err != nil {
		return "", err
	}
	again, err := l.session.askHidden("New password, again")
	if err == nil && again != fresh {
		err = errors.New("the two passwords differ; nothing is changed")
	}
	return fresh, err
}

// post sends a request that is not an operation.
func (l *login) post(ctx context.Context, path, token string, body map[string]string) (reply, error) {
	encoded, err := json.Marshal(body)
	if err != nil {
		return reply{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, l.session.flags.timeout)
	defer cancel()
	api := *l.session.client
	api.token = token // never an old one: a login does not need it
	r, err := api.ask(ctx, call{method: http.MethodPost, path: path, body: encoded})
	return r, late(ctx, err)
}

func (l *login) save(user, token string) error {
	store, err := l.session.credentials()
	if err != nil {
		return err
	}
	base := l.session.client.target.base
	return store.change(func(apis map[string]credential) {
		apis[base] = credential{AccessToken: token, Username: user}
	})
}

// askHidden asks on Stderr for a line of the terminal that is not echoed. It may be empty only by mistake.
func (a *app) askHidden(prompt string) (string, error) {
	if !a.env.isTerminal(a.env.Stdin) {
		return "", usagef("standard input is no terminal to ask for a password; use --password-stdin")
	}
	_, _ = io.WriteString(a.env.Stderr, prompt+": ")
	line, err := a.env.readPassword()
	_, _ = io.WriteString(a.env.Stderr, "\n")
	if err == nil && line == "" {
		err = errors.New("nothing was entered")
	}
	return line, err
}

// readLine reads up to a line break and not a byte further: what follows belongs to the next reader. It returns io.EOF
// only when there was nothing at all.
func readLine(r io.Reader) (string, error) {
	var line []byte
	one := make([]byte, 1)
	for len(line) < maxLineBytes {
		n, err := r.Read(one)
		if n == 1 {
			if one[0] == '\n' {
				return trimLineBreak(line), nil
			}
			line = append(line, one[0])
		}
		if errors.Is(err, io.EOF) && len(line) > 0 {
			return trimLineBreak(line), nil
		}
		if err != nil {
			return "", err
		}
	}
	return "", errors.New("the line on standard input is too long")
}

func (a *app) logoutCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "logout",
		Short: "Revoke the saved access token and forget it",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := a.session(c)
			if err != nil {
				return err
			}
			return s.logout(c.Context())
		},
	}
	a.clientFlags(c)
	return c
}

// logout forgets the token even when the API cannot be told.
func (s *session) logout(ctx context.Context) error {
	if s.client.token == "" {
		return writeLines(s.env.Stdout, "not logged in at "+Clean(s.client.target.base))
	}
	limited, cancel := context.WithTimeout(ctx, s.flags.timeout)
	defer cancel()
	_, err := s.client.ask(limited, call{method: http.MethodPost, path: "/auth/logout"})
	forgetErr := s.forget()
	var p *problemError
	if errors.As(err, &p) && p.status == http.StatusUnauthorized {
		err = nil // it was worthless already
	}
	if err != nil {
		s.note("The saved token is forgotten, but it is not revoked and stays valid until it expires.")
		return s.refused(late(limited, errors.Join(err, forgetErr)))
	}
	if forgetErr != nil {
		return forgetErr
	}
	return writeLines(s.env.Stdout, "logged out at "+Clean(s.client.target.base))
}

// forget removes the saved token if it is the one in use.
func (s *session) forget() error {
	store, err := s.credentials()
	if err != nil {
		return nil //nolint:nilerr // no place for saved logins means there are none
	}
	base := s.client.target.base
	f, err := store.load()
	if err != nil || f.APIs[base].AccessToken != s.client.token {
		return err
	}
	return store.change(func(apis map[string]credential) { delete(apis, base) })
}
