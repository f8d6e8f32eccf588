<?php
// Example app for PHP:
//
//     REDIS_URL=redis://localhost:6379 BASE_URL=http://localhost:8080 php -S 127.0.0.1:9000 app.php

declare(strict_types=1);

require __DIR__ . '/gatehouse.php';

function e(string $text): string
{
    return htmlspecialchars($text, ENT_QUOTES | ENT_SUBSTITUTE | ENT_HTML5, 'UTF-8');
}

/** @param list<string> $names */
function nameList(array $names): string
{
    return $names === [] ? 'none' : e(implode(', ', $names));
}

/** @param string $main is HTML */
function page(string $title, string $main): void
{
    header('Content-Type: text/html; charset=utf-8');
    echo <<<HTML
        <!DOCTYPE html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <title>$title</title>
        <style>
        :root { color-scheme: light dark; font: 1.125rem/1.5 system-ui, sans-serif; }
        body { max-width: 40rem; margin: 3rem auto; padding: 0 1rem; }
        a { display: inline-block; padding: .5rem 0; }
        </style>
        </head>
        <body>
        <main>
        $main
        </main>
        </body>
        </html>

        HTML;
}

function home(Gatehouse $gatehouse): void
{
    $user = $gatehouse->requireUser();
    $name = e($user->displayName());
    $groups = nameList($user->groups);
    $permissions = nameList($user->permissions);
    $signOut = e($gatehouse->signOutUrl());
    page('Home', <<<HTML
        <h1 id="greeting">Hello, $name</h1>
        <p>Your groups: $groups.</p>
        <p>Your permissions: $permissions.</p>
        <p><a id="sign-out" href="$signOut">Sign out</a></p>
        HTML);
}

function open(Gatehouse $gatehouse): void
{
    $user = $gatehouse->identify();
    $name = e($user?->displayName() ?? 'stranger');
    $greeting = "<h1 id=\"greeting\">Hello, $name</h1>";
    if ($user === null) {
        $greeting .= "\n" . '<p><a id="sign-in" href="' . e($gatehouse->signInUrl()) . '">Sign in</a></p>';
    }
    page('Open to everyone', $greeting);
}

function reports(Gatehouse $gatehouse): void
{
    $gatehouse->requirePermission('reports.view');
    page('Reports', <<<HTML
        <h1>Reports</h1>
        <p>You need the permission <code>reports.view</code> to see this page.</p>
        HTML);
}

function whoami(Gatehouse $gatehouse): void
{
    $user = $gatehouse->requireUser();
    header('Content-Type: application/json');
    echo json_encode([
        'username' => $user->username, 'name' => $user->name, 'groups' => $user->groups, 'permissions' => $user->permissions,
    ], JSON_THROW_ON_ERROR), "\n";
}

function notFound(): void
{
    http_response_code(404);
    header('Content-Type: text/plain; charset=utf-8');
    echo "There is no such page.\n";
}

$gatehouse = new Gatehouse(
    (string) getenv('REDIS_URL'),
    (string) getenv('BASE_URL'),
    (string) getenv('CACHE_URL'),
    (string) getenv('COOKIE_DOMAIN'),
);
match (explode('?', $_SERVER['REQUEST_URI'], 2)[0]) {
    '/' => home($gatehouse),
    '/open' => open($gatehouse),
    '/reports' => reports($gatehouse),
    '/whoami' => whoami($gatehouse),
    default => notFound(),
};
