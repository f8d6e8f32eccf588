<?php
// Gatehouse for PHP: identifies the user of a request by the session that Gatehouse keeps in Redis.
//
// It implements docs/session-format.md. Copy this file into your app. It requires PHP 8.1 or later with ext-redis.

declare(strict_types=1);

/** A user who is signed in. */
final class GatehouseUser
{
    /**
     * @param string $name may be empty
     * @param string $email empty unless it is verified
     * @param list<string> $groups
     * @param list<string> $permissions includes those granted through groups
     */
    public function __construct(
        public readonly string $id,
        public readonly string $username,
        public readonly string $name,
        public readonly string $email,
        public readonly array $groups,
        public readonly array $permissions,
    ) {
    }

    /** Returns the name, or the username if there is no name. */
    public function displayName(): string
    {
        return $this->name !== '' ? $this->name : $this->username;
    }

    /** Returns whether the user has the permission. "users.manage" includes "users.view". */
    public function hasPermission(string $permission): bool
    {
        return in_array($permission, $this->permissions, true)
            || $permission === 'users.view' && in_array('users.manage', $this->permissions, true);
    }

    /** Returns whether the user is in the group. */
    public function inGroup(string $group): bool
    {
        return in_array($group, $this->groups, true);
    }
}

/** The result of a check that is not a GatehouseUser. */
enum GatehouseState: string
{
    case SignedOut = 'signed out';
    /** The session is valid, and Gatehouse has to load the user into the cache first. */
    case UserNotCached = 'user not cached';
}

/** The session cannot be checked right now. Respond with 503 and Retry-After; the visitor is not signed out. */
final class GatehouseUnavailable extends RuntimeException
{
}

/** Identifies the user of one request. Create one per request; it looks the session up once. */
final class Gatehouse
{
    private const MAX_SESSION_BYTES = 8192;
    private const MAX_COOKIES = 4;
    private const MAX_IDLE_SECONDS = 10 * 365 * 24 * 60 * 60;
    /** The largest integer that every language represents exactly. */
    private const MAX_SAFE_INTEGER = 2 ** 53 - 1;
    private const COOKIE = '/^[A-Za-z0-9_-]{43}$/D';
    private const TIME = '/^([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?Z$/D';
    private const CHANNEL = 'gatehouse:used';
    private const LOAD_TIMEOUT_MS = 1000;
    /** In seconds, for a whole lookup. */
    private const LOOKUP_TIMEOUT = 2.0;

    private readonly string $base;
    private readonly string $app;
    private readonly string $cookieName;
    private readonly GatehouseDatabase $sessions;
    private readonly GatehouseDatabase $cache;
    private ?GatehouseUser $found = null;
    private bool $isLookedUp = false;

    /**
     * Does not connect to Redis.
     *
     * @param string $redisUrl Gatehouse's REDIS_URL: redis://[user:password@]host:port[/database], rediss://… or
     *     unix:///path/to.sock[?db=1]
     * @param string $baseUrl Gatehouse's BASE_URL, such as https://login.example.org
     * @param string $cacheUrl Gatehouse's CACHE_URL; the default is the database after that of $redisUrl
     * @param string $cookieDomain Gatehouse's COOKIE_DOMAIN, if it has one
     * @param string $appUrl the public URL of this app, scheme and host; the default is taken from the request, which is
     *     wrong behind a proxy that terminates TLS
     * @throws InvalidArgumentException for an invalid argument; the message never contains a password
     */
    public function __construct(
        #[SensitiveParameter] string $redisUrl,
        string $baseUrl,
        #[SensitiveParameter] string $cacheUrl = '',
        string $cookieDomain = '',
        string $appUrl = '',
    ) {
        $this->base = self::parseUrl($baseUrl, 'baseUrl');
        $this->app = $appUrl === '' ? '' : self::parseUrl($appUrl, 'appUrl');
        $this->cookieName = match (true) {
            !str_starts_with($this->base, 'https:') => 'gatehouse',
            $cookieDomain !== '' => '__Secure-gatehouse',
            default => '__Host-gatehouse',
        };
        $this->sessions = GatehouseDatabase::fromUrl($redisUrl, 'redisUrl');
        $this->cache = $cacheUrl === '' ? $this->sessions->nextDatabase() : GatehouseDatabase::fromUrl($cacheUrl, 'cacheUrl');
    }

    private static function parseUrl(string $url, string $argument): string
    {
        if (preg_match('~^https?://[^/?#@\s]+(/[^?#\s]*)?$~Di', $url) !== 1) {
            throw new InvalidArgumentException("gatehouse: $argument must be a URL such as https://login.example.org");
        }
        $scheme = strstr($url, ':', true);
        return rtrim(strtolower($scheme) . substr($url, strlen($scheme)), '/');
    }

    /**
     * Returns the user, or null if the visitor is not signed in.
     *
     * @throws GatehouseUnavailable
     */
    public function user(): ?GatehouseUser
    {
        if (!$this->isLookedUp) {
            $this->found = $this->lookupCookies();
            $this->isLookedUp = true;
        }
        return $this->found;
    }

    /** Is like user(), and responds with 503 and exits if the session cannot be checked. */
    public function identify(): ?GatehouseUser
    {
        header('Cache-Control: no-store');
        header('Vary: Cookie', false);
        try {
            return $this->user();
        } catch (GatehouseUnavailable $e) {
            error_log('gatehouse: cannot check the session: ' . $e->getMessage());
            header('Retry-After: 5');
            self::refuse(503, 'We can\'t check your sign-in right now. You have not been signed out. Try again in a few seconds.');
        }
    }

    /** Requires a signed-in user. Otherwise it redirects browsers to the sign-in page, responds to others with 401, and exits. */
    public function requireUser(): GatehouseUser
    {
        $user = $this->identify();
        if ($user !== null) {
            return $user;
        }
        header('Vary: Accept', false);
        if (!self::wantsHtml()) {
            self::refuse(401, 'Please sign in.');
        }
        header('Location: ' . $this->signInUrl());
        self::refuse(303, 'Please sign in.');
    }

    /** Is like requireUser(), and responds with 403 to users without the permission. */
    public function requirePermission(string $permission): GatehouseUser
    {
        $user = $this->requireUser();
        return $user->hasPermission($permission) ? $user : self::forbid();
    }

    /** Is like requireUser(), and responds with 403 to users who are not in the group. */
    public function requireGroup(string $group): GatehouseUser
    {
        $user = $this->requireUser();
        return $user->inGroup($group) ? $user : self::forbid();
    }

    /** Returns the URL of the sign-in page, which redirects back to the URL of the request. */
    public function signInUrl(): string
    {
        return $this->base . '/login?next=' . rawurlencode($this->requestUrl());
    }

    /** Returns the URL of the sign-out page, which asks for confirmation and ends the session for all apps. */
    public function signOutUrl(): string
    {
        return $this->base . '/sign-out';
    }

    private function requestUrl(): string
    {
        // A client may send an absolute URL.
        $path = preg_replace('~^[a-z][a-z0-9+.-]*://[^/?#]*~i', '', $_SERVER['REQUEST_URI'] ?? '/');
        $app = $this->app;
        if ($app === '') {
            $tls = !in_array(strtolower((string) ($_SERVER['HTTPS'] ?? '')), ['', 'off'], true);
            $app = ($tls ? 'https://' : 'http://') . ($_SERVER['HTTP_HOST'] ?? $_SERVER['SERVER_NAME'] ?? '');
        }
        return $app . (str_starts_with($path, '/') ? '' : '/') . $path;
    }

    private static function wantsHtml(): bool
    {
        return in_array($_SERVER['REQUEST_METHOD'] ?? '', ['GET', 'HEAD'], true)
            && str_contains(strtolower($_SERVER['HTTP_ACCEPT'] ?? ''), 'text/html');
    }

    private static function forbid(): never
    {
        self::refuse(403, 'You don\'t have access. Need it? Ask an administrator.');
    }

    private static function refuse(int $status, string $message): never
    {
        http_response_code($status);
        header('Content-Type: text/plain; charset=utf-8');
        header('X-Content-Type-Options: nosniff');
        echo $message, "\n";
        exit;
    }

    private function lookupCookies(): ?GatehouseUser
    {
        $this->sessions->setDeadline(self::LOOKUP_TIMEOUT);
        $this->cache->setDeadline(self::LOOKUP_TIMEOUT);
        foreach (self::sessionCookies($_SERVER['HTTP_COOKIE'] ?? '', $this->cookieName) as $cookie) {
            $user = $this->lookup($cookie);
            if ($user !== null) {
                return $user;
            }
        }
        return null;
    }

    private function lookup(string $cookie): ?GatehouseUser
    {
        $now = new DateTimeImmutable();
        $left = 0;
        $lookup = function (string $key) use (&$left): ?string {
            if (str_starts_with($key, 'user:')) {
                return $this->cache->get($key);
            }
            [$value, $left] = $this->sessions->getWithTtl($key);
            return $value;
        };
        $session = self::parseSession($cookie, $lookup, $now);
        if ($session === null) {
            return null;
        }
        $result = self::parseUser($session, $lookup('user:' . $session['user_id']));
        if ($result === GatehouseState::UserNotCached) {
            $result = $this->loadUser($session);
        } elseif ($result instanceof GatehouseUser && $left < self::renewBelow($session, $now)) {
            $this->reportUse($session);
        }
        return $result instanceof GatehouseUser ? $result : null;
    }

    /**
     * Returns the values of the cookies with that name that have the format of a session token: at most the first four.
     * $_COOKIE has only the first cookie of a name, and decodes it.
     *
     * @return list<string>
     */
    public static function sessionCookies(string $header, string $name): array
    {
        $found = [];
        foreach (explode(';', $header) as $part) {
            [$key, $value] = explode('=', trim($part, " \t"), 2) + [1 => ''];
            if (rtrim($key, " \t") === $name && preg_match(self::COOKIE, $value) === 1) {
                $found[] = $value;
            }
        }
        return array_slice($found, 0, self::MAX_COOKIES);
    }

    /** Asks Gatehouse to load the session's user into the cache, and waits for it. */
    private function loadUser(array $session): GatehouseUser|GatehouseState
    {
        $until = hrtime(true) + self::LOAD_TIMEOUT_MS * 1_000_000;
        $this->requestLoad($session);
        for ($wait = 5_000; ($left = intdiv($until - hrtime(true), 1000)) > 0; $wait *= 2) {
            usleep(min($wait, $left));
            $value = $this->cache->get('user:' . $session['user_id']);
            $result = self::parseUser($session, $value);
            if ($result !== GatehouseState::UserNotCached) {
                return $result;
            }
            if ($value === null) { // a change may have dropped the loaded user
                $this->requestLoad($session);
            }
        }
        throw new GatehouseUnavailable('no Gatehouse server loaded the user into the cache within ' . self::LOAD_TIMEOUT_MS . ' ms');
    }

    private function requestLoad(array $session): void
    {
        if ($this->sessions->publish(self::CHANNEL, $session['id']) === 0) {
            throw new GatehouseUnavailable('the user is not in the cache, and no Gatehouse server is running to load it');
        }
    }

    /** Tells Gatehouse that the session is in use. Losing a report does no harm. */
    private function reportUse(array $session): void
    {
        try {
            $this->sessions->publish(self::CHANNEL, $session['id']);
        } catch (GatehouseUnavailable $e) {
            error_log('gatehouse: cannot report that a session is in use: ' . $e->getMessage());
        }
    }

    /**
     * Returns the PTTL, in ms, below which a tenth of the idle time has passed since the last renewal. A key that does not
     * expire has a negative one.
     */
    private static function renewBelow(array $session, DateTimeImmutable $now): float
    {
        $seconds = $session['deadline'][0] - $now->getTimestamp();
        return 0.9 * 1000 * min($session['idle_seconds'], $seconds);
    }

    /**
     * Applies the rules of the session format to one cookie, without Redis or HTTP.
     *
     * @param callable(string): ?string $lookup returns the value of a Redis key, or null
     */
    public static function check(string $cookie, callable $lookup, DateTimeImmutable $now): GatehouseUser|GatehouseState
    {
        $session = self::parseSession($cookie, $lookup, $now);
        return $session === null ? GatehouseState::SignedOut : self::parseUser($session, $lookup('user:' . $session['user_id']));
    }

    /**
     * Checks the cookies in order and returns the result of check() for the first one that is not signed out.
     *
     * @param list<string> $cookies
     * @param callable(string): ?string $lookup returns the value of a Redis key, or null
     */
    public static function checkAll(array $cookies, callable $lookup, DateTimeImmutable $now): GatehouseUser|GatehouseState
    {
        foreach ($cookies as $cookie) {
            $result = self::check($cookie, $lookup, $now);
            if ($result !== GatehouseState::SignedOut) {
                return $result;
            }
        }
        return GatehouseState::SignedOut;
    }

    /** @return ?array{id: string, user_id: string, epoch: int, idle_seconds: int, deadline: array{int, int}} */
    private static function parseSession(string $cookie, callable $lookup, DateTimeImmutable $now): ?array
    {
        if (preg_match(self::COOKIE, $cookie) !== 1) {
            return null;
        }
        $id = rtrim(strtr(base64_encode(hash('sha256', $cookie, true)), '+/', '-_'), '=');
        $value = $lookup('session:' . $id);
        if ($value === null || strlen($value) > self::MAX_SESSION_BYTES) {
            return null;
        }
        $s = self::parseObject($value);
        if ($s === null || ($s['v'] ?? null) !== 1 || ($s['id'] ?? null) !== $id || !self::isNonemptyString($s['user_id'] ?? null)
            || !self::isInteger($s['epoch'] ?? null) || !self::isInteger($s['idle_seconds'] ?? null)
            || $s['idle_seconds'] < 1 || $s['idle_seconds'] > self::MAX_IDLE_SECONDS) {
            return null;
        }
        $deadline = self::parseTime($s['deadline'] ?? null);
        if ($deadline === null || $deadline <= [$now->getTimestamp(), 1000 * (int) $now->format('u')]) {
            return null;
        }
        return ['deadline' => $deadline] + $s;
    }

    private static function parseUser(array $session, ?string $value): GatehouseUser|GatehouseState
    {
        if ($value === null || str_starts_with($value, 'lease:')) {
            return GatehouseState::UserNotCached;
        }
        $u = self::parseObject($value);
        if ($u === null || ($u['v'] ?? null) !== 1 || ($u['id'] ?? null) !== $session['user_id']
            || ($u['active'] ?? null) !== true || ($u['epoch'] ?? null) !== $session['epoch'] || !self::isNonemptyString($u['username'] ?? null)) {
            return GatehouseState::SignedOut;
        }
        $u += ['name' => '', 'email' => ''];
        $groups = self::stringList($u['groups'] ?? []);
        $permissions = self::stringList($u['permissions'] ?? []);
        if (!is_string($u['name']) || !is_string($u['email']) || $groups === null || $permissions === null) {
            return GatehouseState::SignedOut;
        }
        // An unverified address may belong to someone else.
        $email = ($u['email_verified'] ?? null) === true ? $u['email'] : '';
        return new GatehouseUser($u['id'], $u['username'], $u['name'], $email, $groups, $permissions);
    }

    /**
     * Returns the fields of a JSON object, or null. Nested objects stay objects, which distinguishes {} from [].
     *
     * @return ?array<string, mixed>
     */
    private static function parseObject(string $value): ?array
    {
        $o = json_decode($value, false, 10000);
        if (json_last_error() === JSON_ERROR_INVALID_PROPERTY_NAME) {
            // PHP's objects cannot have fields whose names begin with NUL. No field that is read contains one.
            $o = json_decode((string) preg_replace('/(?<!\\\\)(?:\\\\\\\\)*\K\\\\u0000/', '\ufffd', $value), false, 10000);
        }
        return $o instanceof stdClass ? get_object_vars($o) : null;
    }

    private static function isNonemptyString(mixed $v): bool
    {
        return is_string($v) && $v !== '';
    }

    /** json_decode returns a float for a number that is too large for an int. */
    private static function isInteger(mixed $v): bool
    {
        return is_int($v) && $v >= 0 && $v <= self::MAX_SAFE_INTEGER;
    }

    /** @return ?list<string> */
    private static function stringList(mixed $v): ?array
    {
        return is_array($v) && $v === array_filter($v, is_string(...)) ? $v : null;
    }

    /** @return ?array{int, int} Unix seconds and nanoseconds; null for an invalid time */
    private static function parseTime(mixed $v): ?array
    {
        if (!is_string($v) || preg_match(self::TIME, $v, $part) !== 1) {
            return null;
        }
        [, $year, $month, $day, $hour, $minute, $second] = array_map(intval(...), $part);
        // PHP's own functions turn February 30 into March 2.
        if (!checkdate($month, $day, $year) || $hour > 23 || $minute > 59 || $second > 59) {
            return null;
        }
        return [(new DateTimeImmutable(substr($v, 0, 19) . 'Z'))->getTimestamp(), (int) str_pad($part[7] ?? '', 9, '0')];
    }
}

/** One Redis database. It connects on first use. */
final class GatehouseDatabase
{
    /** In seconds, for connecting and for each reply. */
    private const REPLY_TIMEOUT = 0.95;

    private ?Redis $redis = null;
    private float $deadline = INF;

    private function __construct(
        private readonly string $host,
        private readonly int $port,
        private readonly string $user,
        #[SensitiveParameter] private readonly string $password,
        private readonly int $database,
    ) {
    }

    /** Its errors never quote the URL, because it may contain a password. */
    public static function fromUrl(#[SensitiveParameter] string $url, string $argument): self
    {
        if (preg_match('~^rediss?://(?:([^/?#]*)@)?(\[[0-9a-f:.]+\]|[^][:/?#@\s]+)(?::([0-9]{1,5}))?(?:/([0-9]{0,5}))?$~Di', $url, $part) === 1) {
            // phpredis puts an IPv6 address into brackets itself.
            $host = (strtolower($url[5]) === 's' ? 'tls://' : '') . trim($part[2], '[]');
            $target = [$host, (int) (($part[3] ?? '') ?: 6379), (int) ($part[4] ?? 0)];
        } elseif (preg_match('~^unix://(?:([^/?#]*)@)?(/[^?#]*[^/?#])(?:\?db=([0-9]{1,5}))?$~Di', $url, $part) === 1) {
            $target = [rawurldecode($part[2]), 0, (int) ($part[3] ?? 0)];
        } else {
            throw new InvalidArgumentException(
                "gatehouse: $argument must be redis://[user:password@]host:port[/database], rediss://… or unix:///path/to.sock[?db=1]",
            );
        }
        [$user, $password] = array_map(rawurldecode(...), explode(':', $part[1], 2) + [1 => '']);
        if ($user !== '' && $password === '') {
            throw new InvalidArgumentException(
                "gatehouse: $argument has a user but no password; for a password alone write redis://:password@host:port",
            );
        }
        return new self($target[0], $target[1], $user, $password, $target[2]);
    }

    /** Returns the next database of the same Redis. */
    public function nextDatabase(): self
    {
        return new self($this->host, $this->port, $this->user, $this->password, $this->database + 1);
    }

    /** Limits the time for all further commands, in seconds from now. */
    public function setDeadline(float $seconds): void
    {
        $this->deadline = microtime(true) + $seconds;
    }

    /** Returns null for a missing key, and an empty value, which is never a valid record, for a key of another type. */
    public function get(string $key): ?string
    {
        return $this->run(fn (Redis $r): ?string => self::value($r, $r->get($key)));
    }

    /**
     * Returns the value and the PTTL in one round trip.
     *
     * @return array{?string, int}
     */
    public function getWithTtl(string $key): array
    {
        return $this->run(function (Redis $r) use ($key): array {
            $replies = $r->pipeline()->get($key)->pttl($key)->exec();
            // A missing reply must not look like a missing key.
            if (!is_array($replies) || !is_int($replies[1] ?? null)) {
                throw new RedisException($r->getLastError() ?? 'no reply');
            }
            return [self::value($r, $replies[0]), $replies[1]];
        });
    }

    /** Returns the number of servers that received the message. */
    public function publish(string $channel, string $message): int
    {
        return $this->run(fn (Redis $r): int => $r->publish($channel, $message));
    }

    private static function value(Redis $redis, mixed $reply): ?string
    {
        if (is_string($reply)) {
            return $reply;
        }
        $error = $redis->getLastError();
        if ($error === null) {
            return null;
        }
        if (str_starts_with($error, 'WRONGTYPE')) {
            return '';
        }
        throw new RedisException($error);
    }

    /**
     * @template T
     * @param callable(Redis): T $commands
     * @return T
     */
    private function run(callable $commands): mixed
    {
        try {
            $this->redis ??= $this->connect();
            $this->redis->clearLastError();
            $this->redis->setOption(Redis::OPT_READ_TIMEOUT, $this->timeLeft());
            return $commands($this->redis);
        } catch (RedisException | TypeError $e) { // phpredis returns false for some failures
            $this->redis = null;
            throw new GatehouseUnavailable("redis: $this->host: " . trim($e->getMessage()), 0, $e);
        }
    }

    /**
     * Opens a new connection for each request. phpredis shares its persistent connections with other code, and they keep
     * the user and the database that they had before.
     */
    private function connect(): Redis
    {
        $redis = new Redis();
        $timeout = $this->timeLeft();
        error_clear_last();
        if (!@$redis->connect($this->host, $this->port, $timeout, null, 0, $timeout)) {
            throw new RedisException('cannot connect ' . (error_get_last()['message'] ?? ''));
        }
        $redis->setOption(Redis::OPT_MAX_RETRIES, 0);
        $redis->setOption(Redis::OPT_READ_TIMEOUT, $this->timeLeft());
        if ($this->password !== '' && !$redis->auth($this->user === '' ? $this->password : [$this->user, $this->password])) {
            throw new RedisException('the password is wrong');
        }
        $redis->setOption(Redis::OPT_READ_TIMEOUT, $this->timeLeft());
        if ($this->database !== 0 && !$redis->select($this->database)) {
            throw new RedisException("there is no database $this->database");
        }
        return $redis;
    }

    private function timeLeft(): float
    {
        $left = min(self::REPLY_TIMEOUT, $this->deadline - microtime(true));
        return $left > 0 ? $left : throw new RedisException('no reply in time');
    }
}
