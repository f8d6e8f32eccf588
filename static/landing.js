'use strict';
// The landing page shows the sky at the visitor's local time. The page waits for this script, so that the first paint is right.
const followLocalTime = () => {
	const now = new Date();
	document.documentElement.style.setProperty('--now', now.getHours() * 60 + now.getMinutes());
	setTimeout(followLocalTime, 6e4 - now % 6e4);
};
followLocalTime();
