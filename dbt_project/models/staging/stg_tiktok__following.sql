{{ account_list('following', 'username, display_name') }}
