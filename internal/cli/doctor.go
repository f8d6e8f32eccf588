package cli

import (
	"context"
	"errors"
	"fmt"
	"gatehouse/internal/app"
	"gatehouse/internal/config"
	"gatehouse/kv"
	"gatehouse/kv/redisconn"
	"net"
)

type doctorCmd struct{}

// Run checks settings and servers as serve would, but goes on after a fault.
func (doctorCmd) Run(c *command, settings *config.Settings) error {
	d := &doctor{command: c}
	config, err := settings.Validate()
	d.say("settings", "can be used", err)
	if err == nil {
		d.config = config
		d.checkKey()
		d.checkBaseURL()
		d.checkListen()
		d.checkDatabase()
		d.checkRedis()
		d.checkDjango()
	}
	if d.faults > 0 {
		fmt.Fprintf(c.io.Out, "\n%d to mend.\n", d.faults)
		return errReported
	}
	return nil
}

// doctor prints one line for each check and counts the faults.
type doctor struct {
	*command
	faults int
}

func (d *doctor) say(what, good string, err error) {
	if err != nil {
		d.faults++
		fmt.Fprintf(d.io.Out, "FAULT  %-12s %v\n", what, err)
		return
	}
	fmt.Fprintf(d.io.Out, "ok     %-12s %s\n", what, good)
}

func (d *doctor) warn(what, text string) {
	fmt.Fprintf(d.io.Out, "warn   %-12s %s\n", what, text)
}

func (d *doctor) checkKey() {
	_, err := d.config.Keys()
	d.say("SECRET_KEY", "long enough", err)
}

func (d *doctor) checkBaseURL() {
	if d.config.Base.Scheme == "http" && d.config.Base.Hostname() != "localhost" {
		d.warn("BASE_URL", d.config.BaseURL+" is not https: passwords and cookies can be read on the way")
		return
	}
	d.say("BASE_URL", d.config.BaseURL, nil)
}

func (d *doctor) checkListen() {
	l, err := net.Listen("tcp", d.config.ListenAddr)
	if err != nil {
		d.warn("LISTEN_ADDR", fmt.Sprintf("%s is taken, perhaps by a running gatehouse", d.config.ListenAddr))
		return
	}
	_ = l.Close()
	d.say("LISTEN_ADDR", d.config.ListenAddr+" is free", nil)
}

func (d *doctor) checkDatabase() {
	database, err := app.OpenDatabase(d.ctx, d.config)
	if err != nil {
		d.say("DATABASE_URL", "", err)
		return
	}
	defer database.Close()
	current, want, err := database.SchemaVersions(d.ctx)
	switch {
	case err != nil:
	case current < want && d.config.EmbeddedSQL():
		d.say("DATABASE_URL", fmt.Sprintf("%s answers; its schema is made at the first start", database.Name()), nil)
		return
	case current < want:
		err = fmt.Errorf("%s answers, but its schema is at version %d and this program needs %d: run `gatehouse migrate up`", database.Name(), current, want)
	}
	d.say("DATABASE_URL", fmt.Sprintf("%s answers; its schema is at version %d", database.Name(), current), err)
	if err == nil && !d.config.EmbeddedSQL() {
		d.say("changes", "notifications of changed users arrive", database.CheckListening(d.ctx))
	}
}

func (d *doctor) checkRedis() {
	if d.config.RedisURL == "" {
		d.say("REDIS_URL", "empty: Redis inside the server's process; sessions end with it", nil)
		return
	}
	d.checkOneRedis("REDIS_URL", d.config.RedisURL, true)
	cacheURL, err := d.config.ResolveCacheURL(d.config.RedisURL)
	if err != nil {
		d.say("CACHE_URL", "", err)
		return
	}
	d.checkOneRedis("CACHE_URL", cacheURL, false)
}

func (d *doctor) checkDjango() {
	const setting = "DJANGO_SESSIONS_URL"
	if d.config.DjangoSessionsURL == "" {
		return
	}
	r, err := redisconn.Open(d.config.DjangoSessionsURL)
	if err != nil {
		d.say(setting, "", err)
		return
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(d.ctx, app.ConnectTimeout)
	defer cancel()
	d.say(setting, "answers", kv.NewDjango(r, nil, d.config.DjangoSessionPrefix).Readable(ctx))
}

func (d *doctor) checkOneRedis(setting, url string, keeps bool) {
	r, err := redisconn.Open(url)
	if err != nil {
		d.say(setting, "", err)
		return
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(d.ctx, app.ConnectTimeout)
	defer cancel()
	if err := r.Ping(ctx); err != nil {
		d.say(setting, "", err)
		return
	}
	if fault := app.EvictionProblem(ctx, r); keeps && fault != "" {
		d.say(setting, "", errors.New(fault))
		return
	}
	d.say(setting, "answers", nil)
}
