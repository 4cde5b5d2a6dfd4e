package cli_test

import (
	"encoding/json"
	"net/http"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/cli"
)

// withLogin makes api accept password, and demand another one first when mustChange.
func withLogin(api *fakeAPI, password string, mustChange bool) {
	api.on("POST /auth/login", func(w http.ResponseWriter, r *http.Request) {
		sent := api.seen("POST")
		var body struct{ Username, Password string }
		_ = json.Unmarshal([]byte(sent[len(sent)-1].body), &body)
		if body.Password != password {
			write(w, 401, problem("credentials_refused", 401, "wrong user name or password"))
			return
		}
		answer, _ := json.Marshal(map[string]any{"access_token": "tok-" + password, "token_type": "bearer", "must_change_password": mustChange})
		write(w, 200, string(answer))
	})
	api.on("POST /auth/change-password", func(w http.ResponseWriter, r *http.Request) {
		sent := api.seen("POST")
		var body struct {
			New string `json:"new_password"`
		}
		_ = json.Unmarshal([]byte(sent[len(sent)-1].body), &body)
		password, mustChange = body.New, false
		w.WriteHeader(http.StatusNoContent)
	})
}

// anonymous is a person without DECNET_TOKEN.
func anonymous(t *testing.T, api *fakeAPI) *bundle {
	t.Helper()
	b := setup(t, api)
	b.env = append(b.env, "DECNET_TOKEN=")
	return b
}

func TestLogin_SavesATokenThatLaterCommandsUse(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	withLogin(api, "correct horse", false)
	api.answer("GET /deckies", 200, `{"items":[]}`)
	api.answer("POST /auth/logout", 204, "")
	b := anonymous(t, api)
	b.stdin = "correct horse\n"
	out, errOut, err := b.run("login", "--user", "admin", "--password-stdin")
	require.NoError(t, err)
	require.Contains(t, out, "logged in as admin")
	require.NotContains(t, out+errOut, "tok-")

	info, err := os.Stat(b.credentialsFile())
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	content, err := os.ReadFile(b.credentialsFile())
	require.NoError(t, err)
	require.JSONEq(t, `{"apis":{"`+api.url()+`":{"access_token":"tok-correct horse","username":"admin"}}}`, string(content))

	_, _, err = b.run("deckies", "list")
	require.NoError(t, err)
	require.Equal(t, "Bearer tok-correct horse", api.seen("GET")[0].auth)

	_, _, err = b.run("logout")
	require.NoError(t, err)
	content, err = os.ReadFile(b.credentialsFile())
	require.NoError(t, err)
	require.JSONEq(t, `{"apis":{}}`, string(content))
}

func TestLogin_ChangesThePasswordOnATerminal(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	withLogin(api, "generated", true)
	b := anonymous(t, api)
	b.terminals, b.stdin = "in out err", "\n"
	b.passwords = []string{"generated", "my own password", "my own password"}
	_, errOut, err := b.run("login")
	require.NoError(t, err)
	require.Contains(t, errOut, "User [admin]: Password for admin: \nThe password must be changed before anything else.\nNew password: ")
	posts := api.seen("POST")
	require.Len(t, posts, 3)
	require.JSONEq(t, `{"old_password":"generated","new_password":"my own password"}`, posts[1].body)
	require.Equal(t, "Bearer tok-generated", posts[1].auth)
	content, err := os.ReadFile(b.credentialsFile())
	require.NoError(t, err)
	require.Contains(t, string(content), "tok-my own password")
}

func TestLogin_ChangeOfPasswordRefusals(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	withLogin(api, "generated", true)
	b := anonymous(t, api)
	b.terminals, b.passwords = "in err", []string{"generated", "one", "two"}
	_, _, err := b.run("login", "--user", "admin")
	require.ErrorContains(t, err, "the two passwords differ")
	b.terminals, b.stdin = "", "generated\n"
	_, _, err = b.run("login", "--password-stdin")
	require.ErrorContains(t, err, "the password must be changed")
	require.NoFileExists(t, b.credentialsFile())
	b.stdin = "generated\nanother one\n"
	_, _, err = b.run("login", "--password-stdin")
	require.NoError(t, err)
}

func TestLogin_Refused(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	withLogin(api, "right", false)
	b := anonymous(t, api)
	b.stdin = "wrong"
	_, _, err := b.run("login", "--password-stdin")
	require.Equal(t, cli.ExitFailed, cli.ExitCode(err))
	require.ErrorContains(t, err, "credentials_refused")
	require.NotContains(t, err.Error(), "wrong\"")
	b.stdin = ""
	_, _, err = b.run("login", "--password-stdin")
	require.Equal(t, cli.ExitUsage, cli.ExitCode(err))
	_, _, err = b.run("login")
	require.Equal(t, cli.ExitUsage, cli.ExitCode(err))
}

func TestLogin_JSONPrintsTheAnswerWhenAskedFor(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	withLogin(api, "right", false)
	b := anonymous(t, api)
	b.stdin = "right"
	out, _, err := b.run("login", "--password-stdin", "-o", "json")
	require.NoError(t, err)
	require.JSONEq(t, `{"access_token":"tok-right","token_type":"bearer","must_change_password":false}`, out)
}

func TestLogout_ForgetsEvenWhenTheAPIIsAway(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	withLogin(api, "right", false)
	b := anonymous(t, api)
	b.stdin = "right"
	_, _, err := b.run("login", "--password-stdin")
	require.NoError(t, err)
	api.server.Close()
	_, errOut, err := b.run("logout")
	require.Equal(t, cli.ExitUnreachable, cli.ExitCode(err))
	require.Contains(t, errOut, "not revoked")
	content, err := os.ReadFile(b.credentialsFile())
	require.NoError(t, err)
	require.NotContains(t, string(content), "tok-")
}
