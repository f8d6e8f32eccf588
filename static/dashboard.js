'use strict';
// The clock and the launcher of the dashboard. app.js, which runs first, defines all, find, put, serverClock and reload.
const tickTock = (now) => {
	const time = serverClock(now.dateTime);
	const drift = () => Date.now() - performance.now();
	const awake = drift();
	const { zone: timeZone, periods } = now.dataset;
	const [am, pm] = periods.split('|');
	const date = find('#date');
	let today = now.dateTime.slice(8, 10);
	const n = '2-digit';
	const digits = Intl.DateTimeFormat('en-GB', { timeZone, hourCycle: 'h23', year: 'numeric', month: n, day: n, hour: n, minute: n, second: n, timeZoneName: 'longOffset' });
	const words = Intl.DateTimeFormat(date.lang, { timeZone, dateStyle: 'full' });
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
		const shown = [pm ? `${hour % 12 || 12}` : hour, minute, second, hour < 12 ? am : pm];
		all('span', now).forEach((node, i) => put(node, shown[i]));
		// Browsers differ slightly in how they write dates: the server's text stays until midnight.
		if (day !== today) put(date, words.format(ms));
		today = day;
		put(find('#offset'), 'UTC' + offset.replace('-', '\u2212'));
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

// The list follows what is typed. The server searches in the same way.
for (const input of all('.launcher #q')) {
	const items = all('.apps li');
	const fold = (text) => text.normalize('NFKD').replace(/\p{M}/gu, '').toLowerCase();
	const shown = () => items.filter((item) => !item.hidden);
	const filter = () => {
		const words = fold(input.value).split(/\s+/);
		for (const item of items) {
			const text = fold(find('.what', item).textContent);
			item.hidden = !words.every((word) => text.includes(word));
		}
		put(find('#no-match'), shown().length ? '' : 'No app matches your search.');
	};
	input.addEventListener('input', filter);
	input.form.addEventListener('submit', (event) => {
		event.preventDefault();
		event.stopPropagation();
		if (input.value && shown().length === 1) location = find('a', shown()[0]).href;
	});
	addEventListener('keydown', (event) => {
		if (event.ctrlKey || event.metaKey || event.altKey) return;
		if (event.key === '/' && !event.target.closest('input, textarea, select')) {
			event.preventDefault();
			input.select();
		}
	});
}

// The arrow keys move between the apps.
addEventListener('keydown', (event) => {
	const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
	const from = event.target.closest('.apps a, .launcher #q');
	if (!step || !from || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
	if (from.id && event.key !== 'ArrowDown') return;
	const links = all('.apps li:not([hidden]) a');
	const next = links[links.indexOf(from) + step];
	if (!next) return;
	event.preventDefault();
	next.focus();
});
