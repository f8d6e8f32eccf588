'use strict';
// The clock of the dashboard. app.js, which runs first, defines all, find, put, serverClock and reload.
const tickTock = (now) => {
	const time = serverClock(now.dateTime);
	const drift = () => Date.now() - performance.now();
	const awake = drift();
	const { zone: timeZone } = now.dataset;
	const n = '2-digit';
	const digits = Intl.DateTimeFormat('en-GB', { timeZone, hourCycle: 'h23', year: 'numeric', month: n, day: n, hour: n, minute: n, second: n, timeZoneName: 'longOffset' });
	const words = Intl.DateTimeFormat('en-GB', { timeZone, dateStyle: 'full' });
	let timer;
	const tick = () => {
		clearTimeout(timer);
		if (document.hidden) return;
		// performance.now() may stop while the device sleeps; Date.now() does not.
		if (Math.abs(drift() - awake) > 2000) return reload();
		const ms = time();
		const part = {};
		for (const { type, value } of digits.formatToParts(ms)) part[type] = value;
		const { year, month, day, hour, minute, second } = part;
		const offset = part.timeZoneName.slice(3) || '+00:00'; // "GMT+01:00" or "GMT"
		now.dateTime = `${year}-${month}-${day}T${hour}:${minute}:${second}${offset}`;
		all('span', now).forEach((node, i) => put(node, [hour, minute, second][i]));
		put(find('#date'), words.format(ms).replace(/,? /, ', '));
		put(find('#offset'), 'UTC' + offset);
		find('#second-hand').setAttribute('transform', `rotate(${second * 6})`);
		document.documentElement.style.setProperty('--now', hour * 60 + +minute);
		timer = setTimeout(tick, 1005 - ms % 1000);
	};
	document.addEventListener('visibilitychange', tick);
	tick();
};
try {
	all('#now').forEach(tickTock);
} catch {
	// This browser does not know the time zone: show the server's time, updated every minute.
	setTimeout(reload, 6e4);
}
