'use strict';
// Every page works without this script.
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const find = (selector, root) => all(selector, root)[0];
const put = (node, text) => { if (node.textContent !== text) node.textContent = text; };

// The server wrote its times when the response started; performance.now() counts from there, so a wrong clock on this
// device does not matter.
const [visit] = performance.getEntriesByType('navigation');
const serverClock = (written) => {
	const start = Date.parse(written) - (visit?.responseStart || 0);
	return () => start + performance.now();
};

// After waking from sleep there is often no network yet, and reloading would lose the page.
const reload = () => {
	if (navigator.onLine) location.reload();
	else addEventListener('online', reload);
};

// Keeps "3 hours ago" up to date while the page is open. After a day, the server's text is accurate enough.
for (const list of all('[data-now]')) {
	const time = serverClock(list.dataset.now);
	const ago = new Intl.RelativeTimeFormat('en');
	for (const seen of all('.ago', list)) {
		const at = Date.parse(seen.dateTime);
		if (!seen.dataset.current) setInterval(() => {
			const minutes = Math.floor((time() - at) / 6e4);
			if (minutes < 1 || minutes >= 1440) return;
			put(seen.firstChild, minutes < 60 ? ago.format(-minutes, 'minute') : ago.format(-Math.floor(minutes / 60), 'hour'));
		}, 6e4);
	}
}

const zone = find('input[name=time_zone]');
if (zone) zone.value ||= Intl.DateTimeFormat().resolvedOptions().timeZone;

for (const input of all('[type=password]')) {
	const button = document.createElement('button');
	const show = (shown) => {
		input.type = shown ? 'text' : 'password';
		button.textContent = shown ? 'Hide' : 'Show';
		button.ariaLabel = `${button.textContent} ${input.labels[0].textContent.toLowerCase()}`;
	};
	button.type = 'button';
	button.className = 'show';
	button.onclick = () => show(input.type === 'password');
	// Submitted as a password, so that browsers do not offer it for autocompletion.
	input.form.addEventListener('submit', () => show(false));
	show(false);
	input.after(button);
}

// A secret that is shown only once.
for (const field of all('[data-copy]')) {
	// Reloading this page shows the list instead of creating another token.
	history.replaceState(null, '', location.href);
	const button = document.createElement('button');
	const status = document.createElement('span');
	status.className = 'visually-hidden';
	status.ariaLive = 'polite';
	const say = (text, spoken = '') => {
		put(button, text);
		button.ariaLabel = `${text}: ${field.labels[0].textContent}`;
		put(status, spoken);
	};
	button.type = 'button';
	button.className = 'show';
	button.onclick = async () => {
		try {
			await navigator.clipboard.writeText(field.value);
		} catch {
			// Without HTTPS, only a command can copy. If it cannot either, the text stays selected.
			field.focus();
			field.select();
			if (!document.execCommand('copy')) return say('Copy', 'Selected, but not copied');
			button.focus();
		}
		say('Copied', 'Copied');
		setTimeout(say, 4000, 'Copy');
	};
	say('Copy');
	field.onfocus = () => field.select();
	if (field.matches(':focus')) field.select();
	field.after(button, status);
}

for (const box of all('.strength')) {
	const input = find('input', box.closest('.field'));
	const { form } = input;
	const [bar, text] = box.children;
	let timer, request;
	const judge = async () => {
		const body = new URLSearchParams({ password: input.value });
		for (const name of ['username', 'email', 'name']) body.set(name, form.elements[name]?.value || '');
		request = new AbortController();
		try {
			const answer = await fetch('/password/strength', { method: 'POST', body, signal: request.signal });
			const { score, label, message } = await answer.json();
			if (!(score >= 0)) return;
			box.dataset.score = bar.ariaValueNow = score;
			bar.ariaValueText = label;
			// There is room for one line; the form's response shows the rest.
			put(text, message.split(/[:.] /)[0] || label);
		} catch { /* superseded or offline: the server checks again when the form is submitted */ }
	};
	form.addEventListener('input', () => {
		clearTimeout(timer);
		request?.abort();
		if (input.value) timer = setTimeout(judge, 300);
		else delete box.dataset.score;
	});
}

// Ignores a second click while the form is being submitted.
addEventListener('submit', (event) => {
	const form = event.target;
	if (form.ariaBusy) return event.preventDefault();
	const button = find('[data-busy]', form);
	const text = button.firstChild;
	const idle = text.data;
	const busy = (yes) => {
		form.ariaBusy = button.ariaDisabled = yes;
		text.data = yes ? button.dataset.busy : idle;
	};
	busy('true');
	// Enables the button again if the request is slow or canceled, or the user comes back to the page.
	setTimeout(busy, 15000, null);
	addEventListener('pageshow', () => busy(null), { once: true });
});

// A page from the back/forward cache shows an old time, and perhaps a user who has signed out since.
addEventListener('pageshow', (event) => {
	if (event.persisted && find('[action="/logout"]')) reload();
});
// Reloading the page repeats neither its notice nor a form that it answers.
const { refresh, address } = document.body.dataset;
if (address) history.replaceState(null, '', address);
find('.notice[autofocus]')?.focus(); // for browsers with autofocus on fields only
if (refresh) setTimeout(reload, refresh * 1000);
