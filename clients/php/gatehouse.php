<?php
// Asks Gatehouse who a visitor is: reads the sessions that Gatehouse keeps in Redis (docs/session-format.md) and
// never writes. It stands alone in this file, and needs PHP 8.1 or later with ext-redis.

declare(strict_types=1);

/** A person who is signed in, as Gatehouse knew them a moment ago. */
final class GatehouseUser
{
    /**
     * @param string $name may be empty, and so may $email
     * @param list<string> $groups
     * @param list<string> $permissions those of the groups too
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

    /** The name, or the username of somebody who gave none. */
    public function displayName(): string
    {
        return $this->name !== '' ? $this->name : $this->username;
    }

    /** "users.manage" includes "users.view". */
    public function can(string $permission): bool
    {
        return in_array($permission, $this->permissions, true)
            || $permission === 'users.view' && in_array('users.manage', $this->permissions, true);
    }

    public function in(string $group): bool
    {
        return in_array($group, $this->groups, true);
    }
}

/** What the check says of a visitor who is not a GatehouseUser. */
enum GatehouseAnswer: string
{
    case SignedOut = 'signed out';
    /** The session is good, and Gatehouse must be asked who the user is. */
    case NotKnown = 'user not cached';
}

/** It cannot be told now who is asking: the answer is 503. */
final class GatehouseUnavailable extends RuntimeException
{
}

/** The visitor of one request: make one for each. What it found it keeps for as long. */
final class Gatehouse
{
    private const MAX_SESSION = 8192;
    private const MAX_COOKIES = 4;
    private const MAX_IDLE = 10 * 365 * 24 * 60 * 60;
    /** The largest whole number that is the same in every language. */
    private const MAX_WHOLE = 2 ** 53 - 1;
    private const COOKIE = '/^[A-Za-z0-9_-]{43}$/D';
    private const MOMENT = '/^([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?Z$/D';
    private const CHANNEL = 'gatehouse:used';
    private const ASK_FOR_MS = 1000;
    /** In seconds, whatever one look has to wait for. */
    private const LOOK_FOR = 2.0;

    private readonly string $base;
    private readonly string $app;
    private readonly string $cookieName;
    private readonly GatehouseStore $sessions;
    private readonly GatehouseStore $cache;
    private ?GatehouseUser $found = null;
    private bool $looked = false;

    /**
     * Does not connect. An InvalidArgumentException is about the settings, and never shows a password.
     *
     * @param string $redisUrl Gatehouse's own: redis://[user:password@]host:port[/database], rediss://… or
     *     unix:///path/to.sock[?db=1]
     * @param string $baseUrl Gatehouse's address, as people type it
     * @param string $cacheUrl Gatehouse's own; empty for the next database of $redisUrl
     * @param string $cookieDomain Gatehouse's COOKIE_DOMAIN
     * @param string $appUrl the address of this program, scheme and host, as people type it; empty: what the request
     *     says, which is wrong behind a proxy that ends TLS
     */
    public function __construct(
        #[SensitiveParameter] string $redisUrl,
        string $baseUrl,
        #[SensitiveParameter] string $cacheUrl = '',
        string $cookieDomain = '',
        string $appUrl = '',
    ) {
        $this->base = self::address($baseUrl, 'the base URL');
        $this->app = $appUrl === '' ? '' : self::address($appUrl, 'the app\'s URL');
        $this->cookieName = match (true) {
            !str_starts_with($this->base, 'https:') => 'gatehouse',
            $cookieDomain !== '' => '__Secure-gatehouse',
            default => '__Host-gatehouse',
        };
        $this->sessions = GatehouseStore::at($redisUrl);
        $this->cache = $cacheUrl === '' ? $this->sessions->next() : GatehouseStore::at($cacheUrl);
    }

    private static function address(string $url, string $what): string
    {
        if (preg_match('~^https?://[^/?#@\s]+(/[^?#\s]*)?$~Di', $url) !== 1) {
            throw new InvalidArgumentException("Gatehouse: $what is not an address such as https://login.example.org");
        }
        $scheme = strstr($url, ':', true);
        return rtrim(strtolower($scheme) . substr($url, strlen($scheme)), '/');
    }

    /**
     * Who is asking; null for a visitor who is not signed in.
     *
     * @throws GatehouseUnavailable
     */
    public function user(): ?GatehouseUser
    {
        if (!$this->looked) {
            $this->found = $this->look();
            $this->looked = true;
        }
        return $this->found;
    }

    /** user() for pages that are for anybody and differ by who is asking. It answers 503 itself and ends the script. */
    public function identify(): ?GatehouseUser
    {
        header('Cache-Control: no-store');
        header('Vary: Cookie', false);
        try {
            return $this->user();
        } catch (GatehouseUnavailable $e) {
            error_log($e->getMessage());
            header('Retry-After: 5');
            self::refuse(503, 'It cannot be checked at the moment whether you are signed in. Please try again in a few seconds.');
        }
    }

    /** identify() for people who are signed in. Browsers are sent to the sign-in page, other programs get a 401. */
    public function requireUser(): GatehouseUser
    {
        $user = $this->identify();
        if ($user !== null) {
            return $user;
        }
        header('Vary: Accept', false);
        if (!self::wantsPage()) {
            self::refuse(401, 'Please sign in.');
        }
        header('Location: ' . $this->signInUrl());
        self::refuse(303, 'Please sign in.');
    }

    /** requireUser(), and a 403 for people without the permission. */
    public function requirePermission(string $permission): GatehouseUser
    {
        $user = $this->requireUser();
        return $user->can($permission) ? $user : self::forbid();
    }

    /** requireUser(), and a 403 for people who are not in the group. */
    public function requireGroup(string $group): GatehouseUser
    {
        $user = $this->requireUser();
        return $user->in($group) ? $user : self::forbid();
    }

    /** Gatehouse's sign-in page, which brings people back to the page of this request. */
    public function signInUrl(): string
    {
        return $this->base . '/login?next=' . rawurlencode($this->wanted());
    }

    /** Gatehouse's page that asks once and ends the session for all. */
    public function signOutUrl(): string
    {
        return $this->base . '/sign-out';
    }

    private function wanted(): string
    {
        // A client may send the whole address.
        $path = preg_replace('~^[a-z][a-z0-9+.-]*://[^/?#]*~i', '', $_SERVER['REQUEST_URI'] ?? '/');
        $app = $this->app;
        if ($app === '') {
            $tls = !in_array(strtolower((string) ($_SERVER['HTTPS'] ?? '')), ['', 'off'], true);
            $app = ($tls ? 'https://' : 'http://') . ($_SERVER['HTTP_HOST'] ?? $_SERVER['SERVER_NAME'] ?? '');
        }
        return $app . (str_starts_with($path, '/') ? '' : '/') . $path;
    }

    private static function wantsPage(): bool
    {
        return in_array($_SERVER['REQUEST_METHOD'] ?? '', ['GET', 'HEAD'], true)
            && str_contains(strtolower($_SERVER['HTTP_ACCEPT'] ?? ''), 'text/html');
    }

    private static function forbid(): never
    {
        self::refuse(403, 'You are signed in, but you may not see this page.');
    }

    private static function refuse(int $status, string $sentence): never
    {
        http_response_code($status);
        header('Content-Type: text/plain; charset=utf-8');
        header('X-Content-Type-Options: nosniff');
        echo $sentence, "\n";
        exit;
    }

    private function look(): ?GatehouseUser
    {
        $this->sessions->endAfter(self::LOOK_FOR);
        $this->cache->endAfter(self::LOOK_FOR);
        foreach (self::sessionCookies($_SERVER['HTTP_COOKIE'] ?? '', $this->cookieName) as $cookie) {
            $user = $this->lookUp($cookie);
            if ($user !== null) {
                return $user;
            }
        }
        return null;
    }

    private function lookUp(string $cookie): ?GatehouseUser
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
        $session = self::sessionOf($cookie, $lookup, $now);
        if ($session === null) {
            return null;
        }
        $answer = self::userOf($session, $lookup('user:' . $session['user_id']));
        if ($answer === GatehouseAnswer::NotKnown) {
            $answer = $this->ask($session);
        } elseif ($answer instanceof GatehouseUser && $left < self::tellBelow($session, $now)) {
            $this->tell($session);
        }
        return $answer instanceof GatehouseUser ? $answer : null;
    }

    /**
     * The values in a Cookie header that may be the session's token: at most the first four of that name and the right
     * shape. PHP's $_COOKIE has only the first of a name, and decodes it.
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

    /** Has Gatehouse look at the session, which fills the cache, and waits for that. */
    private function ask(array $session): GatehouseUser|GatehouseAnswer
    {
        $until = hrtime(true) + self::ASK_FOR_MS * 1_000_000;
        $this->request($session);
        for ($wait = 5_000; ($left = intdiv($until - hrtime(true), 1000)) > 0; $wait *= 2) {
            usleep(min($wait, $left));
            $value = $this->cache->get('user:' . $session['user_id']);
            $answer = self::userOf($session, $value);
            if ($answer !== GatehouseAnswer::NotKnown) {
                return $answer;
            }
            if ($value === null) { // a change may have dropped what was filled
                $this->request($session);
            }
        }
        throw new GatehouseUnavailable('Gatehouse: Gatehouse did not fill the cache within a second');
    }

    private function request(array $session): void
    {
        if ($this->sessions->publish(self::CHANNEL, $session['id']) === 0) {
            throw new GatehouseUnavailable('Gatehouse: the user is not in the cache, and no Gatehouse server runs that could fill it');
        }
    }

    /** Says that the session was used. It does no harm if that is lost. */
    private function tell(array $session): void
    {
        try {
            $this->sessions->publish(self::CHANNEL, $session['id']);
        } catch (GatehouseUnavailable $e) {
            error_log($e->getMessage());
        }
    }

    /**
     * The PTTL below which a tenth of the time is gone since Gatehouse last heard of the session, in ms. A key that
     * would stay for ever has a negative one.
     */
    private static function tellBelow(array $session, DateTimeImmutable $now): float
    {
        $seconds = $session['deadline'][0] - $now->getTimestamp();
        return 0.9 * 1000 * min($session['idle_seconds'], $seconds);
    }

    /**
     * The reader without Redis and HTTP: whom the first of the cookies' values that is not signed out stands for at the time $now.
     *
     * @param list<string> $cookies
     * @param callable(string): ?string $lookup the value of a key, null if there is none
     */
    public static function check(array $cookies, callable $lookup, DateTimeImmutable $now): GatehouseUser|GatehouseAnswer
    {
        foreach ($cookies as $cookie) {
            $session = self::sessionOf($cookie, $lookup, $now);
            $answer = $session === null ? GatehouseAnswer::SignedOut : self::userOf($session, $lookup('user:' . $session['user_id']));
            if ($answer !== GatehouseAnswer::SignedOut) {
                return $answer;
            }
        }
        return GatehouseAnswer::SignedOut;
    }

    /** @return ?array{id: string, user_id: string, epoch: int, idle_seconds: int, deadline: array{int, int}} */
    private static function sessionOf(string $cookie, callable $lookup, DateTimeImmutable $now): ?array
    {
        if (preg_match(self::COOKIE, $cookie) !== 1) {
            return null;
        }
        $id = rtrim(strtr(base64_encode(hash('sha256', $cookie, true)), '+/', '-_'), '=');
        $value = $lookup('session:' . $id);
        if ($value === null || strlen($value) > self::MAX_SESSION) {
            return null;
        }
        $s = self::object($value);
        if ($s === null || ($s['v'] ?? null) !== 1 || ($s['id'] ?? null) !== $id || !self::isName($s['user_id'] ?? null)
            || !self::isWhole($s['epoch'] ?? null) || !self::isWhole($s['idle_seconds'] ?? null)
            || $s['idle_seconds'] < 1 || $s['idle_seconds'] > self::MAX_IDLE) {
            return null;
        }
        $deadline = self::moment($s['deadline'] ?? null);
        if ($deadline === null || $deadline <= [$now->getTimestamp(), 1000 * (int) $now->format('u')]) {
            return null;
        }
        return ['deadline' => $deadline] + $s;
    }

    private static function userOf(array $session, ?string $value): GatehouseUser|GatehouseAnswer
    {
        if ($value === null || str_starts_with($value, 'lease:')) {
            return GatehouseAnswer::NotKnown;
        }
        $u = self::object($value);
        if ($u === null || ($u['v'] ?? null) !== 1 || ($u['id'] ?? null) !== $session['user_id']
            || ($u['active'] ?? null) !== true || ($u['epoch'] ?? null) !== $session['epoch'] || !self::isName($u['username'] ?? null)) {
            return GatehouseAnswer::SignedOut;
        }
        $u += ['name' => '', 'email' => ''];
        $groups = self::names($u['groups'] ?? []);
        $permissions = self::names($u['permissions'] ?? []);
        if (!is_string($u['name']) || !is_string($u['email']) || $groups === null || $permissions === null) {
            return GatehouseAnswer::SignedOut;
        }
        // An address that is not verified is only what somebody typed.
        $email = ($u['email_verified'] ?? null) === true ? $u['email'] : '';
        return new GatehouseUser($u['id'], $u['username'], $u['name'], $email, $groups, $permissions);
    }

    /**
     * The fields of an object; objects inside it stay objects, which tells {} from []. Null for what is none.
     *
     * @return ?array<string, mixed>
     */
    private static function object(string $value): ?array
    {
        $o = json_decode($value, false, 10000);
        if (json_last_error() === JSON_ERROR_INVALID_PROPERTY_NAME) {
            // PHP's objects have no fields whose names begin with NUL, and no field that counts has any in it.
            $o = json_decode((string) preg_replace('/(?<!\\\\)(?:\\\\\\\\)*\K\\\\u0000/', '\ufffd', $value), false, 10000);
        }
        return $o instanceof stdClass ? get_object_vars($o) : null;
    }

    private static function isName(mixed $v): bool
    {
        return is_string($v) && $v !== '';
    }

    /** Numbers that are too large for an int are floats here. */
    private static function isWhole(mixed $v): bool
    {
        return is_int($v) && $v >= 0 && $v <= self::MAX_WHOLE;
    }

    /** @return ?list<string> */
    private static function names(mixed $v): ?array
    {
        return is_array($v) && $v === array_filter($v, is_string(...)) ? $v : null;
    }

    /** @return ?array{int, int} unix seconds and nanoseconds; null for what is no moment */
    private static function moment(mixed $v): ?array
    {
        if (!is_string($v) || preg_match(self::MOMENT, $v, $part) !== 1) {
            return null;
        }
        [, $year, $month, $day, $hour, $minute, $second] = array_map(intval(...), $part);
        // PHP's own functions make 2 March of 30 February.
        if (!checkdate($month, $day, $year) || $hour > 23 || $minute > 59 || $second > 59) {
            return null;
        }
        return [(new DateTimeImmutable(substr($v, 0, 19) . 'Z'))->getTimestamp(), (int) str_pad($part[7] ?? '', 9, '0')];
    }
}

/** One database of a Redis, for Gatehouse alone. It connects when it is first asked. */
final class GatehouseStore
{
    /** In seconds, for connecting and for each reply. */
    private const TIMEOUT = 0.95;

    private ?Redis $redis = null;
    private float $until = INF;

    private function __construct(
        private readonly string $host,
        private readonly int $port,
        private readonly string $user,
        #[SensitiveParameter] private readonly string $password,
        private readonly int $database,
    ) {
    }

    /** The errors never quote the URL, which may hold a password. */
    public static function at(#[SensitiveParameter] string $url): self
    {
        if (preg_match('~^rediss?://(?:([^/?#]*)@)?(\[[0-9a-f:.]+\]|[^][:/?#@\s]+)(?::([0-9]{1,5}))?(?:/([0-9]{0,5}))?$~Di', $url, $part) === 1) {
            // phpredis puts an IPv6 address into brackets itself.
            $host = (strtolower($url[5]) === 's' ? 'tls://' : '') . trim($part[2], '[]');
            $place = [$host, (int) (($part[3] ?? '') ?: 6379), (int) ($part[4] ?? 0)];
        } elseif (preg_match('~^unix://(?:([^/?#]*)@)?(/[^?#]*[^/?#])(?:\?db=([0-9]{1,5}))?$~Di', $url, $part) === 1) {
            $place = [rawurldecode($part[2]), 0, (int) ($part[3] ?? 0)];
        } else {
            throw new InvalidArgumentException(
                'Gatehouse: a URL of Redis is not redis://[user:password@]host:port[/database], rediss://… or unix:///path/to.sock[?db=1]',
            );
        }
        [$user, $password] = array_map(rawurldecode(...), explode(':', $part[1], 2) + [1 => '']);
        if ($user !== '' && $password === '') {
            throw new InvalidArgumentException(
                'Gatehouse: a URL of Redis has a user but no password; for a password alone write redis://:password@host:port',
            );
        }
        return new self($place[0], $place[1], $user, $password, $place[2]);
    }

    /** The next database of the same Redis. */
    public function next(): self
    {
        return new self($this->host, $this->port, $this->user, $this->password, $this->database + 1);
    }

    /** Bounds all that is asked from now on, in seconds. */
    public function endAfter(float $seconds): void
    {
        $this->until = microtime(true) + $seconds;
    }

    /** Null for a missing key; an empty value, which no reader accepts, for a key of another type. */
    public function get(string $key): ?string
    {
        return $this->ask(fn (Redis $r): ?string => self::value($r, $r->get($key)));
    }

    /**
     * The PTTL comes in the same round trip.
     *
     * @return array{?string, int}
     */
    public function getWithTtl(string $key): array
    {
        return $this->ask(function (Redis $r) use ($key): array {
            $replies = $r->pipeline()->get($key)->pttl($key)->exec();
            // A reply that did not come must not look like a key that is not there.
            if (!is_array($replies) || !is_int($replies[1] ?? null)) {
                throw new RedisException($r->getLastError() ?? 'it did not answer');
            }
            return [self::value($r, $replies[0]), $replies[1]];
        });
    }

    /** How many servers heard it. */
    public function publish(string $channel, string $message): int
    {
        return $this->ask(fn (Redis $r): int => $r->publish($channel, $message));
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
    private function ask(callable $commands): mixed
    {
        try {
            $this->redis ??= $this->connect();
            $this->redis->clearLastError();
            $this->redis->setOption(Redis::OPT_READ_TIMEOUT, $this->patience());
            return $commands($this->redis);
        } catch (RedisException | TypeError $e) { // phpredis returns false for some of what went wrong
            $this->redis = null;
            throw new GatehouseUnavailable("Gatehouse: Redis at $this->host: " . trim($e->getMessage()), 0, $e);
        }
    }

    /**
     * A new connection for each request. phpredis hands its persistent ones on with the user and the database that
     * they had before, to other code as well.
     */
    private function connect(): Redis
    {
        $redis = new Redis();
        $timeout = $this->patience();
        error_clear_last();
        if (!@$redis->connect($this->host, $this->port, $timeout, null, 0, $timeout)) {
            throw new RedisException('it cannot be reached ' . (error_get_last()['message'] ?? ''));
        }
        $redis->setOption(Redis::OPT_MAX_RETRIES, 0);
        $redis->setOption(Redis::OPT_READ_TIMEOUT, $this->patience());
        if ($this->password !== '' && !$redis->auth($this->user === '' ? $this->password : [$this->user, $this->password])) {
            throw new RedisException('it does not know the password');
        }
        $redis->setOption(Redis::OPT_READ_TIMEOUT, $this->patience());
        if ($this->database !== 0 && !$redis->select($this->database)) {
            throw new RedisException("it has no database $this->database");
        }
        return $redis;
    }

    private function patience(): float
    {
        $left = min(self::TIMEOUT, $this->until - microtime(true));
        return $left > 0 ? $left : throw new RedisException('it took too long');
    }
}
