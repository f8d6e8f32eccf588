package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"

	"gatehouse/django"
	"gatehouse/internal/app"
	"gatehouse/internal/config"
	"gatehouse/internal/launcher"
	"gatehouse/kv/redisconn"
)

type doctorCmd struct{}

func (doctorCmd) settingsOptional() {}

// Run checks the settings and servers as serve would, and continues after a problem.
func (doctorCmd) Run(c *command) error {
	d := &doctor{command: c, faulty: map[string]bool{}}
	if n := len(c.fromFile); n > 0 {
		d.report(config.EnvFile, "sets "+settings(n), nil)
		if info, err := os.Stat(config.EnvFile); err == nil && info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
			d.warn(config.EnvFile, "other users of this machine can read it: chmod 600 "+config.EnvFile)
		}
	}
	d.reportFaults()
	d.checkKey()
	d.checkBaseURL()
	d.checkListen()
	d.checkDatabase()
	d.checkRedis()
	d.checkApps()
	d.checkDjango()
	if d.problems > 0 {
		noun := "problems"
		if d.problems == 1 {
			noun = "problem"
		}
		c.printf("\n%d %s found.", d.problems, noun)
		return errReported
	}
	return nil
}

// doctor prints one line for each check and counts the problems.
type doctor struct {
	*command
	// faulty are the settings that have been reported already.
	faulty   map[string]bool
	problems int
}

// reportFaults prints the invalid settings: under their own names if a check below has that name.
func (d *doctor) reportFaults() {
	valid := true
	for _, fault := range d.faults {
		setting := config.SettingOf(fault)
		d.faulty[setting] = true
		switch setting {
		case "SECRET_KEY", "DATABASE_URL", "REDIS_URL", "CACHE_URL", "DJANGO_SESSIONS_URL":
			d.report(setting, "", fault)
		default:
			valid = false
			d.report("settings", "", fault)
		}
	}
	if valid {
		d.report("settings", "valid", nil)
	}
}

// report prints err, or ok if it is nil.
func (d *doctor) report(check, ok string, err error) {
	if err != nil {
		d.problems++
		problem := strings.TrimPrefix(strings.TrimPrefix(err.Error(), check), ":")
		d.printf("FAULT  %-12s %s", check, strings.TrimPrefix(problem, " "))
		return
	}
	d.printf("ok     %-12s %s", check, ok)
}

func (d *doctor) warn(check, text string) {
	d.printf("warn   %-12s %s", check, text)
}

func (d *doctor) checkKey() {
	if d.faulty["SECRET_KEY"] {
		return
	}
	_, err := d.config.Keys()
	d.report("SECRET_KEY", "long enough", err)
}

func (d *doctor) checkBaseURL() {
	if d.faulty["BASE_URL"] {
		return
	}
	if d.config.Base.Scheme == "http" && d.config.Base.Hostname() != "localhost" {
		d.warn("BASE_URL", d.config.BaseURL+" is not https: passwords and cookies can be read in transit")
		return
	}
	d.report("BASE_URL", d.config.BaseURL, nil)
}

func (d *doctor) checkListen() {
	if d.faulty["LISTEN_ADDR"] {
		return
	}
	l, err := net.Listen("tcp", d.config.ListenAddr)
	if err != nil {
		d.warn("LISTEN_ADDR", fmt.Sprintf("%s is in use, perhaps by a running gatehouse", d.config.ListenAddr))
		return
	}
	_ = l.Close()
	d.report("LISTEN_ADDR", d.config.ListenAddr+" is available", nil)
}

func (d *doctor) checkDatabase() {
	if d.faulty["DATABASE_URL"] || d.faulty["DATABASE_LISTEN_URL"] {
		return
	}
	database, err := app.OpenDatabase(d.ctx, d.config)
	if err != nil {
		d.report("DATABASE_URL", "", err)
		return
	}
	defer database.Close()
	var current, want int64
	err = app.RetryTimeouts(d.ctx, func() (err error) {
		current, want, err = database.SchemaVersions(d.ctx)
		return err
	})
	switch {
	case err != nil:
	case current < want && d.config.EmbeddedSQL():
		d.report("DATABASE_URL", fmt.Sprintf("%s responds; the first start creates its schema", database.Name()), nil)
		return
	case current < want:
		err = fmt.Errorf("%s responds, but its schema is at version %d and this program needs %d: run `%s migrate up`", database.Name(), current, want, config.Program())
	}
	d.report("DATABASE_URL", fmt.Sprintf("%s responds; its schema is at version %d", database.Name(), current), err)
	if err == nil && !d.config.EmbeddedSQL() {
		d.report("changes", "notifications of user changes arrive", database.CheckListening(d.ctx))
	}
}

func (d *doctor) checkRedis() {
	if d.config.RedisURL == "" {
		d.report("REDIS_URL", "empty: Redis inside the server's process, whose sessions are lost when it stops", nil)
		return
	}
	if d.faulty["REDIS_URL"] {
		return
	}
	d.checkRedisURL("REDIS_URL", d.config.RedisURL, true)
	if d.faulty["CACHE_URL"] {
		return
	}
	cacheURL, err := d.config.ResolveCacheURL(d.config.RedisURL)
	if err != nil {
		d.report("CACHE_URL", "", err)
		return
	}
	d.checkRedisURL("CACHE_URL", cacheURL, false)
}

// checkRedisURL checks one Redis; durable means that losing its keys signs users out.
func (d *doctor) checkRedisURL(setting, url string, durable bool) {
	r, err := app.OpenRedis(d.ctx, url)
	if err != nil {
		d.report(setting, "", err)
		return
	}
	defer r.Close()
	if problem := app.EvictionProblem(d.ctx, r); durable && problem != "" {
		err = errors.New(problem)
	}
	d.report(setting, "responds", err)
}

func (d *doctor) checkApps() {
	if d.config.AppsFile == "" {
		return
	}
	apps, err := launcher.Load(d.config.AppsFile)
	if err == nil {
		d.report("APPS_FILE", fmt.Sprintf("apps listed: %d", len(apps)), nil)
	}
	for _, problem := range launcher.Problems(err) {
		d.report("APPS_FILE", "", problem)
	}
}

func (d *doctor) checkDjango() {
	const setting = "DJANGO_SESSIONS_URL"
	if d.config.DjangoSessionsURL == "" || d.faulty[setting] {
		return
	}
	r, err := redisconn.Open(d.config.DjangoSessionsURL)
	if err != nil {
		d.report(setting, "", err)
		return
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(d.ctx, app.ConnectTimeout)
	defer cancel()
	d.report(setting, "responds", django.NewRedisStore(r, nil, d.config.DjangoSessionPrefix).CheckAccess(ctx))
}
