<?php
// Runs the cases that every reader must pass: php vectors.php [FILE]

declare(strict_types=1);

require __DIR__ . '/gatehouse.php';

/** Returns the reader's result for a case, in the format of the file. */
function result(array $case, DateTimeImmutable $now): array
{
    $values = [];
    foreach ($case['redis'] as $entry) {
        $values[$entry['key']] = $entry['text'] ?? base64_decode($entry['base64'], true);
    }
    try {
        $cookies = isset($case['cookie']) ? [$case['cookie']]
            : Gatehouse::sessionCookies(base64_decode($case['cookie_header'], true), $case['cookie_name']);
        $result = Gatehouse::checkAll($cookies, fn (string $key): ?string => $values[$key] ?? null, $now);
    } catch (Throwable $e) {
        return ['want' => $e::class . ': ' . $e->getMessage()];
    }
    return $result instanceof GatehouseUser ? ['want' => 'signed in', 'user' => sortKeys(get_object_vars($result))] : ['want' => $result->value];
}

/** Sorts the fields by name, because === compares their order as well. */
function sortKeys(?array $user): ?array
{
    if ($user !== null) {
        ksort($user);
    }
    return $user;
}

$file = json_decode((string) file_get_contents($argv[1] ?? __DIR__ . '/../vectors.json'), true, flags: JSON_THROW_ON_ERROR);
$now = new DateTimeImmutable($file['now']);
$passed = 0;
foreach ($file['cases'] ?? [] as $case) {
    $got = result($case, $now);
    $want = array_filter(['want' => $case['want'], 'user' => sortKeys($case['user'] ?? null)]);
    if ($got === $want) {
        $passed++;
        continue;
    }
    echo $case['name'], ': got ', json_encode($got), ', want ', json_encode($want), "\n";
}
echo $passed, " vectors passed\n";
exit($passed > 0 && $passed === count($file['cases']) ? 0 : 1);
