{{ newest_observation(ref('stg_tiktok__users'), ['study', 'username']) }}
